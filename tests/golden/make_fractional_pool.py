"""Write fractional_pool.npz: torch's fractional max pooling with given samples, and its gradient.

python -m tests.golden.make_fractional_pool        # needs torch; nothing of this package is imported

Torch takes windows of 2×2 at places of its own. Such a window is a disjoint region where the next one begins two
pixels later, and an overlapping one where it begins one later: there both rules agree, and there gradients are sent.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("fractional_pool.npz")
SIZES = {"square": ((13, 13), (8, 8)), "oblong": ((9, 16), (6, 9)), "all_ones": ((7, 6), (6, 5))}  # image, output


def borders(samples: np.ndarray, size: int, out: int, overlapping: bool) -> np.ndarray:
    """Where torch's windows begin along an axis, and where the last one ends [n, out + 1]; samples [n]."""
    steps = (size - 2) / (out - 1) * (np.arange(out - 1) + samples[:, None])
    starts = np.floor(steps) - np.floor(steps[:, :1])
    ends = np.tile([size - 2, size - overlapping], (len(samples), 1))
    return np.concatenate([starts, ends], axis=1)


def arrays(name: str) -> dict[str, np.ndarray]:
    """x [n, h, w, 1] and y; for both kinds of regions the borders, dy [n, p, q, 1], zero where rules differ, and dx."""
    import torch

    image, output = SIZES[name]
    random = np.random.default_rng(image[1])
    x = torch.tensor(random.standard_normal((3, 1, *image)), requires_grad=True)
    samples, dy = random.uniform(size=(3, 1, 2)), random.standard_normal((3, 1, *output))  # that of the width first
    y = torch.nn.functional.fractional_max_pool2d(x, 2, output, _random_samples=torch.tensor(samples))
    found = {"x": x.detach().numpy()[:, 0, :, :, None], "y": y.detach().numpy()[:, 0, :, :, None]}
    for kind, increment in (("disjoint", 2), ("overlapping", 1)):
        rows, columns = (borders(samples[:, 0, 1 - a], image[a], output[a], kind == "overlapping") for a in (0, 1))
        same = (np.diff(rows) == increment)[:, None, :, None] & (np.diff(columns) == increment)[:, None, None]
        (dx,) = torch.autograd.grad(y, x, torch.tensor(dy * same), retain_graph=True)
        found[f"{kind}_rows"], found[f"{kind}_columns"] = rows.astype(np.int32), columns.astype(np.int32)
        found[f"{kind}_dy"], found[f"{kind}_dx"] = (dy * same)[:, 0, :, :, None], dx.numpy()[:, 0, :, :, None]
    return {f"{name}_{key}": value for key, value in found.items()}


if __name__ == "__main__":
    rows = {key: value for name in SIZES for key, value in arrays(name).items()}
    np.savez_compressed(FILE, **rows)
    print(f"{FILE}: {len(rows)} arrays")
