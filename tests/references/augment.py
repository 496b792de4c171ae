"""Changes of images in float64 numpy, image by image, for pixels in [0, 1]."""

import colorsys

import numpy as np


def grey(image):
    if image.shape[-1] == 1:
        return image[..., 0]
    return 0.2989 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]


def brightness(image, factor):
    return np.clip(factor * image, 0, 1)


def contrast(image, factor):
    return np.clip(factor * image + (1 - factor) * grey(image).mean(), 0, 1)


def saturation(image, factor):
    return np.clip(factor * image + (1 - factor) * grey(image)[..., None], 0, 1)


def hue(image, shift):
    """By the standard library, pixel by pixel."""
    if image.shape[-1] == 1:
        return image
    out = np.empty(image.shape)
    for at in np.ndindex(*image.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*image[at])
        out[at] = colorsys.hsv_to_rgb((h + shift) % 1.0, s, v)
    return out


def lighting(image, alphas, values, vectors):
    """Krizhevsky et al. 2012: [p1, p2, p3] [a1 l1, a2 l2, a3 l3]^T is added to every pixel."""
    shift = np.asarray(vectors, np.float64) @ (np.asarray(alphas, np.float64) * np.asarray(values, np.float64))
    return np.clip(image + shift, 0, 1)


def cutout(image, centre, size, fill):
    """The square of rows and columns from centre − size // 2 on, cut at the border."""
    out = np.array(image)
    (row, column), half = centre, size // 2
    out[max(0, row - half) : max(0, row - half + size), max(0, column - half) : max(0, column - half + size)] = fill
    return out


def resize(image, size):
    """Separable triangle filter, widened where the image shrinks, weights renormalised at the border."""
    for axis, length in enumerate(size):
        before = image.shape[axis]
        scale = before / length
        support = max(1.0, scale)
        rows = []
        for i in range(length):
            centre = (i + 0.5) * scale
            weights = np.array([max(0.0, 1 - abs(j + 0.5 - centre) / support) for j in range(before)])
            rows.append(np.tensordot(weights / weights.sum(), image, (0, axis)))
        image = np.stack(rows, axis)
    return image
