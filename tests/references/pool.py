"""Pooling in float64 numpy: one window after another, clipped to the image."""

import itertools

import numpy as np


def windows(size, window, stride, padding, ceil_mode):
    """[(start, end)] of every window along one axis, in pixels of the image, not clipped."""
    before, after = padding
    starts = list(range(-before, size + after - window + 1, stride))
    following = starts[-1] + stride
    covered = starts[-1] + window
    if ceil_mode and covered < size + after and following < size:  # must begin inside the image
        starts.append(following)
    return [(start, start + window) for start in starts]


def pool(x, window, stride, padding, ceil_mode, reduce):
    """reduce(pixels [n, window pixels, c], spans) of each window; spans: the window's (start, end) on both axes."""
    x = np.asarray(x, np.float64)
    rows, columns = (windows(x.shape[1 + a], window[a], stride[a], padding[a], ceil_mode) for a in (0, 1))
    y = np.zeros((len(x), len(rows), len(columns), x.shape[3]))
    for p, (top, bottom) in enumerate(rows):
        for q, (left, right) in enumerate(columns):
            pixels = x[:, max(top, 0) : bottom, max(left, 0) : right]
            y[:, p, q] = reduce(pixels.reshape(len(x), -1, x.shape[3]), ((top, bottom), (left, right)))
    return y


def max_pool(x, window, stride, padding=((0, 0), (0, 0)), ceil_mode=False):
    return pool(x, window, stride, padding, ceil_mode, lambda pixels, spans: pixels.max(1))


def avg_pool(x, window, stride, padding=((0, 0), (0, 0)), ceil_mode=False, count_include_pad=True):
    def mean(pixels, spans):
        counted = 1
        for axis, (start, end) in enumerate(spans):
            counted *= min(end, x.shape[1 + axis] + padding[axis][1]) - start
        return pixels.sum(1) / (counted if count_include_pad else pixels.shape[1])

    return pool(x, window, stride, padding, ceil_mode, mean)


def max_pool_gradient(x, dy, window, stride, padding=((0, 0), (0, 0)), ceil_mode=False):
    """Each window's dy goes to its first maximum in row order."""
    dx = np.zeros(x.shape)
    rows, columns = (windows(x.shape[1 + a], window[a], stride[a], padding[a], ceil_mode) for a in (0, 1))
    for n, p, q, c in np.ndindex(*dy.shape):
        (top, bottom), (left, right) = rows[p], columns[q]
        top, left = max(top, 0), max(left, 0)
        pixels = x[n, top:bottom, left:right, c]
        row, column = np.unravel_index(np.argmax(pixels), pixels.shape)
        dx[n, top + row, left + column, c] += dy[n, p, q, c]
    return dx


def regions(borders, overlapping):
    """[(start, end)] of the pixels between neighbouring borders, as slices."""
    return [(start, end + overlapping) for start, end in itertools.pairwise(borders)]


def fractional_max_pool(x, rows, columns, overlapping):
    """Graham 2014, section 2: x [n, h, w, c], the borders of each image: rows [n, p + 1], columns [n, q + 1]."""
    y = np.zeros((len(x), len(rows[0]) - 1, len(columns[0]) - 1, x.shape[3]))
    for n in range(len(x)):
        for p, (top, bottom) in enumerate(regions(rows[n], overlapping)):
            for q, (left, right) in enumerate(regions(columns[n], overlapping)):
                y[n, p, q] = x[n, top:bottom, left:right].max((0, 1))
    return y


def fractional_max_pool_gradient(x, dy, rows, columns, overlapping):
    """Each region's dy goes to its first maximum in row order."""
    dx = np.zeros(x.shape)
    for n, p, q, c in np.ndindex(*dy.shape):
        (top, bottom), (left, right) = regions(rows[n], overlapping)[p], regions(columns[n], overlapping)[q]
        pixels = x[n, top:bottom, left:right, c]
        row, column = np.unravel_index(np.argmax(pixels), pixels.shape)
        dx[n, top + row, left + column, c] += dy[n, p, q, c]
    return dx
