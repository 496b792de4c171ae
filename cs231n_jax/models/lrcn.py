"""Classifiers of clips: a convolutional network on each frame, a recurrent layer over the frames, scores of each."""

from types import MappingProxyType
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cs231n_jax.models.base import Model, Variant
from cs231n_jax.models.convnet import Unit
from cs231n_jax.models.layers import Dense, activate, dropout
from cs231n_jax.models.recurrent_layers import Backend, Recurrent, check_backend
from cs231n_jax.ops import init, pool
from cs231n_jax.ops.precision import at_least_float32
from cs231n_jax.typing import Array


class Lrcn(Model):
    """Clips [N, T, H, W, C] -> logits [N, K] of the clip, and frame_logits [N, T, K] of each frame.

    On each frame by itself: stages of a 3×3 convolution and 2×2 maxima, a hidden layer `fc` that sees where things are.
    Over the frames: one recurrent layer, which has seen those up to its own. `cell="none"` leaves it out, so that each
    frame is judged alone. The logits of the clip are

    - "average": log (1/T) Σ_t softmax(frame_logits_t), the mean of what the frames say (without a recurrent layer: late
      fusion);
    - "last": scores of their own, from the last output of the recurrent layer.

    Training adds the loss of the clip and the mean loss of its frames.

    Reference: Donahue et al. 2015, "Long-term recurrent convolutional networks for visual recognition and description",
    sections 3 and 4 (prediction at each step, probabilities averaged over the frames; "single frame" as the baseline).
    *Deviation*: a small network in place of a pretrained AlexNet; the paper's loss is that of the frames alone.
    """

    widths: tuple[int, ...] = (8, 16, 32)
    fc: int = 64
    cell: Literal["none", "rnn", "lstm", "gru"] = "lstm"
    hidden: int = 64
    clip: Literal["average", "last"] = "average"
    batch_norm: bool = True
    drop_rate: float = 0.0  # of `fc`, and before the head
    backend: Backend = "scan"  # what runs an LSTM over its steps

    reads = ("video",)
    answers = MappingProxyType({"logits": "label", "frame_logits": "frame_label"})

    @property
    def stages(self) -> tuple[str, ...]:
        """stage1, stage2, ... (after pooling), fc, and layer1, the recurrent one."""
        recurrent = () if self.cell == "none" else ("layer1",)
        return (*(f"stage{s + 1}" for s in range(len(self.widths))), "fc", *recurrent)

    @property
    def auxiliary(self) -> dict[str, float]:
        """The frames count as much as the clip."""
        return {"frame_logits": 1.0}

    @property
    def smallest(self) -> int:
        """Each stage halves the height and the width."""
        return 2 ** len(self.widths)

    def validate(self) -> None:
        """Refuse cuDNN for other cells; raises ValueError."""
        check_backend(self.backend, self.cell)

    def check_input(self, x: Array) -> None:
        """Refuse what is no batch of clips, or too small ones; raises ValueError."""
        if x.ndim != 5 or 0 in x.shape:
            label = self.name or type(self).__name__
            raise ValueError(f"{label} takes clips [N, T, H, W, C] of at least a frame, got shape {list(x.shape)}")
        super().check_input(x[:, 0])

    @nn.compact
    def forward(self, x: Array, *, train: bool = False, noise: bool = False) -> dict[str, Array]:
        """stage1, stage2, ..., fc, layer1, pre_logits, frame_logits, logits; all but the last [N, T, ...]."""
        steps, maps = x.shape[:2], x.reshape((-1, *x.shape[2:]))
        features, unit = {}, self.repeated(Unit)
        for stage, width in zip(self.stages, self.widths):
            maps = unit(width, self.batch_norm, name=f"{stage}_conv")(maps, self.mode(stage, train, noise))
            maps = pool.max_pool(maps, 2)
            features[stage] = maps.reshape((*steps, *maps.shape[1:]))
        mode = self.mode("fc", train, noise)
        x = Dense(self.fc, name="fc")(maps.reshape((*steps, -1)))
        x = features["fc"] = dropout(self, activate(x, mode, "fc_prelu"), self.drop_rate, mode)
        if self.cell != "none":
            x = features["layer1"] = Recurrent(self.hidden, self.cell, backend=self.backend, name="layer1")(x)[0]
        x = dropout(self, x, self.drop_rate, self.mode("head", train, noise))
        frames = Dense(self.num_classes, init=init.lecture_xavier, name="head")(x)
        if self.clip == "average":
            logits = averaged(frames)
        else:
            logits = Dense(self.num_classes, init=init.lecture_xavier, name="head_clip")(x[:, -1])
        return {**features, "pre_logits": x, "frame_logits": frames, "logits": logits}


def averaged(logits: Array) -> Array:
    """log (1/T) Σ_t softmax(logits_t): [N, T, K] -> [N, K]."""
    log = jax.nn.log_softmax(logits.astype(at_least_float32(logits.dtype)))
    return (jax.nn.logsumexp(log, axis=1) - jnp.log(jnp.asarray(log.shape[1], log.dtype))).astype(logits.dtype)


def _count(recurrent: int, out: int, widths: tuple[int, ...] = (8, 16, 32), fc: int = 64, classes: int = 8) -> int:
    """Of clips of 32×32 pixels of one channel."""
    convolutions = sum(9 * a * b + 2 * b for a, b in zip((1, *widths), widths))
    return convolutions + (16 * widths[-1] + 1) * fc + recurrent + (out + 1) * classes


_FREE = {"num_classes": 8}
VARIANTS = {"lrcn": Variant(Lrcn, {}, (10, 32, 32, 1), _count(4 * 64 * (64 + 64 + 1), 64), _FREE)}
