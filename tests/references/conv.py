"""Convolution in float64 numpy, from its definition: one window after another."""

import numpy as np


def conv(x, kernel, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    """y[n, p, q, o] = sum over a, b, i of padded[n, p s + a d, q s + b d, i] kernel[a, b, i, o], group by group."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    kh, kw, inputs, outputs = kernel.shape
    padded = np.pad(x, ((0, 0), *padding, (0, 0)))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, (kh, kw))]
    places = [(size - span) // s + 1 for size, span, s in zip(padded.shape[1:3], spans, stride)]
    y = np.zeros((len(x), *places, outputs))
    share = outputs // groups
    for p, q, g in np.ndindex(*places, groups):
        top, left = p * stride[0], q * stride[1]
        window = padded[:, top : top + spans[0] : dilation[0], left : left + spans[1] : dilation[1]]
        window = window[..., g * inputs : (g + 1) * inputs]
        filters = kernel[..., g * share : (g + 1) * share]
        y[:, p, q, g * share : (g + 1) * share] = np.tensordot(window, filters, axes=((1, 2, 3), (0, 1, 2)))
    return y
