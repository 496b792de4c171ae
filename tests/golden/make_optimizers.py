"""Write optimizers.npz: what torch does on the problem of optimizers_table.py, fifty points for each of its rows.

python -m tests.golden.make_optimizers        # needs torch; nothing of this package is imported
"""

from pathlib import Path

import numpy as np
import torch

from tests.golden import optimizers_table as table

FILE = Path(__file__).with_name("optimizers.npz")


def trajectory(row: table.Row) -> np.ndarray:
    """The points after each update [STEPS, 9], float64."""
    sizes = [int(np.prod(shape)) for shape in table.SHAPES.values()]
    start = torch.split(torch.tensor(table.START), sizes)
    p = [torch.nn.Parameter(x.reshape(shape).clone()) for x, shape in zip(start, table.SHAPES.values())]
    optimizer = eval(row.torch, vars(torch.optim) | {"p": p, "lr": table.rate(0)})
    points = []
    for step in range(table.STEPS):
        for group in optimizer.param_groups:
            group["lr"] = table.rate(step)
        flat = torch.cat([x.detach().reshape(-1) for x in p]).numpy()
        for x, g in zip(p, torch.split(torch.tensor(table.gradient(flat)), sizes)):
            x.grad = g.reshape(x.shape).clone()
        if row.torch_before:
            eval(row.torch_before, vars(torch.nn.utils) | {"p": p})
        optimizer.step()
        points.append(torch.cat([x.detach().reshape(-1) for x in p]).numpy().copy())
    return np.stack(points)


if __name__ == "__main__":
    rows = {row.name: trajectory(row) for row in table.ROWS if row.torch}
    np.savez_compressed(FILE, torch_version=torch.__version__, **rows)
    print(f"{FILE}: {len(rows)} rows from torch {torch.__version__}")
