"""Torch's recurrent layers, two of them, with both directions and padded lengths: writes recurrent.npz beside this.

python -m tests.golden.make_recurrent        # needs torch
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("recurrent.npz")
N, T, D, H = 4, 6, 3, 5
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
LENGTHS = (4, 6, 1, 3)
CASES = [(cell, layers, both, padded) for cell in GATES for layers, both in ((1, 0), (2, 1)) for padded in (0, 1)]


def name(cell: str, layers: int, both: int, padded: int) -> str:
    """What the arrays of a case begin with."""
    return f"{cell}{layers}{'_both' if both else ''}{'_padded' if padded else ''}"


def draw(cell: str, layers: int, both: int) -> tuple[np.ndarray, dict[str, np.ndarray], list[np.ndarray], np.ndarray]:
    """Inputs [n, t, d], torch's parameters by torch's names, initial states [L, n, h], and dy, all float64."""
    random = np.random.default_rng(sum(map(ord, cell)) + layers)
    parameters = {}
    for layer in range(layers):
        for direction in ("", "_reverse")[: 1 + both]:
            width = D if layer == 0 else H * (1 + both)
            shapes = {"weight_ih": (width,), "weight_hh": (H,), "bias_ih": (), "bias_hh": ()}
            for kind, shape in shapes.items():
                values = random.uniform(-1, 1, (GATES[cell] * H, *shape))
                parameters[f"{kind}_l{layer}{direction}"] = values
    states = [random.standard_normal((layers * (1 + both), N, H)) for _ in range(1 + (cell == "lstm"))]
    return random.standard_normal((N, T, D)), parameters, states, random.standard_normal((N, T, H * (1 + both)))


def arrays(cell: str, layers: int, both: int, padded: int) -> dict[str, np.ndarray]:
    """Outputs, last states, and the gradients of Σ y·dy by inputs, parameters and initial states."""
    import torch

    x, parameters, states, dy = draw(cell, layers, both)
    module = getattr(torch.nn, cell.upper())(D, H, layers, batch_first=True, bidirectional=bool(both)).double()
    module.load_state_dict({key: torch.tensor(value) for key, value in parameters.items()})
    inputs = torch.tensor(x, requires_grad=True)
    first = [torch.tensor(s, requires_grad=True) for s in states]
    given = inputs
    if padded:
        given = torch.nn.utils.rnn.pack_padded_sequence(inputs, LENGTHS, batch_first=True, enforce_sorted=False)
    y, last = module(given, tuple(first) if cell == "lstm" else first[0])
    if padded:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=T)
    (y * torch.tensor(dy)).sum().backward()
    found = {"y": y, "dx": inputs.grad}
    found |= {f"last{i}": s for i, s in enumerate(last if cell == "lstm" else (last,))}
    found |= {f"dstate{i}": s.grad for i, s in enumerate(first)}
    found |= {f"d{key}": value.grad for key, value in module.named_parameters()}
    return {f"{name(cell, layers, both, padded)}/{key}": value.detach().numpy() for key, value in found.items()}


if __name__ == "__main__":
    rows = {key: value for case in CASES for key, value in arrays(*case).items()}
    np.savez_compressed(FILE, **rows)
    print(f"{FILE}: {len(rows)} arrays")
