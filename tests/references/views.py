"""Views of images for test-time averaging, one pixel or one slice at a time in numpy."""

import numpy as np


def shifted(images, down, right):
    """y[i, j] = x[i − down, j − right], zero outside."""
    y = np.zeros_like(images)
    height, width = images.shape[1:3]
    for i in range(height):
        for j in range(width):
            if 0 <= i - down < height and 0 <= j - right < width:
                y[:, i, j] = images[:, i - down, j - right]
    return y


def ten_crop(images, size):
    """Krizhevsky et al. 2012, section 4.1: corners and centre, then their mirror images."""
    h, w = images.shape[1:3]
    top, left = (h - size) // 2, (w - size) // 2
    five = [
        images[:, :size, :size],
        images[:, :size, w - size :],
        images[:, h - size :, :size],
        images[:, h - size :, w - size :],
        images[:, top : top + size, left : left + size],
    ]
    return np.stack(five + [np.flip(crop, 2) for crop in five])
