"""The rival of the language models in torch: the same LSTM from the same weights, on the same batches, at equal rates.

    python -m experiments.benchmarks.plain_torch_text experiments/configs/tiny_shakespeare.py:lstm [UPDATES]

Prints after each epoch the loss on the evaluation data and the seconds that updates have taken, evaluations apart, to
be read beside the record of the same config. What differs is what dropout drops.
"""

import sys
import time
from typing import Any

import jax
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cs231n_jax.data import eval_batches
from cs231n_jax.train.assemble import Assembly, assemble
from experiments import overrides

State = tuple[torch.Tensor, torch.Tensor]


class CharLm(nn.Module):
    """Tokens [N, T] and a state -> logits [N, T, V], and the state after them: one layer over one-hot vectors."""

    def __init__(self, symbols: int, hidden: int, drop_rate: float):
        super().__init__()
        self.lstm, self.drop = nn.LSTM(symbols, hidden, batch_first=True), nn.Dropout(drop_rate)
        self.head = nn.Linear(hidden, symbols)

    def forward(self, x: torch.Tensor, state: State | None) -> tuple[torch.Tensor, State]:
        """Run over a window."""
        y, after = self.lstm(F.one_hot(x.long(), self.lstm.input_size).float(), state)
        return self.head(self.drop(y)), after


def twin(params: Any, drop_rate: float) -> CharLm:
    """Torch's model with our parameters: gates in its order, i, f, g, o, and all of the bias in one of its two."""

    def turned(columns: np.ndarray) -> torch.Tensor:
        i, f, o, g = np.split(np.asarray(columns), 4, -1)
        return torch.tensor(np.concatenate((i, f, g, o), -1).T)

    layer, head = params["layer1"], params["head"]
    model = CharLm(layer["input"].shape[0], layer["hidden"].shape[0], drop_rate)
    values = {
        "lstm.weight_ih_l0": turned(layer["input"]),
        "lstm.weight_hh_l0": turned(layer["hidden"]),
        "lstm.bias_ih_l0": turned(layer["bias"]),
        "lstm.bias_hh_l0": torch.zeros(layer["bias"].shape),
        "head.weight": torch.tensor(np.asarray(head["kernel"]).T),
        "head.bias": torch.tensor(np.asarray(head["bias"])),
    }
    model.load_state_dict(values)
    model.lstm.bias_hh_l0.requires_grad_(False)  # ours has one
    return model


class Training:
    """A run of a config with Adam, clipping and a carried state, in torch."""

    def __init__(self, assembly: Assembly):
        config = assembly.config
        params, _ = assembly.task.init(config.seed, assembly.batch_shapes)
        self.model = twin(jax.device_get(params), float(config.model.options.get("drop_rate", 0.0)))
        self._trained = [p for p in self.model.parameters() if p.requires_grad]
        self._adam, self._clip = torch.optim.Adam(self._trained), config.optimizer.clip_norm
        steps = np.arange(assembly.total_steps, dtype=np.int32)
        self._rates = np.asarray(jax.vmap(assembly.schedule)(steps))
        self._assembly: Assembly = assembly
        self._state: State | None = None

    def update(self, step: int) -> float:
        """One update; the loss before it."""
        batch = {name: torch.tensor(x) for name, x in self._assembly.pipeline.batch(step).items()}
        if self._state is not None:
            kept = ~batch["start"][None, :, None]
            h, c = self._state
            self._state = h.detach() * kept, c.detach() * kept
        logits, self._state = self.model(batch["token"], self._state)
        loss = F.cross_entropy(logits.flatten(0, 1), batch["target"].flatten().long())
        self._adam.param_groups[0]["lr"] = float(self._rates[step])
        self._adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._trained, self._clip)
        self._adam.step()
        return float(loss.detach())

    def evaluate(self) -> float:
        """The mean loss of all counted tokens, each row from zeros."""
        self.model.eval()
        total, count = 0.0, 0.0
        with torch.no_grad():
            for batch in eval_batches(self._assembly.eval_source, self._assembly.eval_batch_size):
                logits, _ = self.model(torch.tensor(batch["token"]), None)
                nats = F.cross_entropy(logits.transpose(1, 2), torch.tensor(batch["target"]).long(), reduction="none")
                counted = torch.tensor(batch["counted"] * batch["mask"][:, None])
                total, count = total + float((nats * counted).sum()), count + float(counted.sum())
        self.model.train()
        return total / count


def main(text: str, updates: str = "") -> None:
    """Train, and say where it is after each epoch."""
    assembly = assemble(overrides.load(text))
    training, seconds, last = Training(assembly), 0.0, int(updates or assembly.total_steps)
    for step in range(last):
        before = time.perf_counter()
        training.update(step)
        seconds += time.perf_counter() - before
        if step + 1 == last or (step + 1) % assembly.pipeline.steps_per_epoch == 0:
            print(f"update {step + 1}: loss {training.evaluate():.4f}, {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
