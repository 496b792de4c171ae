"""Captioning: the mean cross-entropy of the next token of a caption, given the image and the true tokens before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from cs231n_jax.data import Source, files
from cs231n_jax.data.pictured import Pictured
from cs231n_jax.metrics import Mean, bleu, cider, rouge
from cs231n_jax.metrics.bleu_score import References
from cs231n_jax.tasks.base import prepared
from cs231n_jax.tasks.conditioned import Conditioned
from cs231n_jax.tasks.generation import Generation, Inputs, Scored
from cs231n_jax.typing import Array, Batch


@dataclass(frozen=True, kw_only=True)
class Captioning(Conditioned):
    """Batches of captions -> logits [N, T − 1, V] of the tokens that follow the first, the second, ... of each.

    {"image": uint8 [N, H, W, C], "target": int32 [N, T], "target_length": int32 [N], optional "mask": [N]}

    With attention the training loss of a caption has the term attention_spread·Σ_l (1 − Σ_t α_tl)² beside the sum over
    its tokens, so that no place is passed over; like that sum it is divided by the number of tokens.

    Reference: Vinyals et al. 2015, equations 1 and 2; Xu et al. 2015, equation 14. *Deviation*: they, and cs231n's
    assignments, divide by the number of captions: all gradients here are theirs over the mean length.
    """

    mean: tuple[float, ...]  # per channel, of pixels scaled to [0, 1]; () where images are features of an encoder
    std: tuple[float, ...]
    shape: tuple[int, ...]  # of an image, [H, W, C]
    attention_spread: float = 0.0  # λ; 0: no such term

    def encoded(self, batch: Batch) -> tuple[Any, ...]:
        """The images, standardised, or their features."""
        return (prepared(batch["image"], self.mean, self.std, self.dtype),)

    def regularized(self, loss: Mean, features: dict[str, Array], counted: Array) -> Mean:
        """With the term that spreads attention, where there is one."""
        if not self.attention_spread:
            return loss
        each = spread(features["alignment"], counted).astype(loss.total.dtype)
        return loss._replace(total=loss.total + self.attention_spread * each.sum())

    def generation(self) -> Generation:
        """An image is described, each once; BLEU-1 to 4, ROUGE-L and CIDEr-D against all of its captions."""
        return Generation(self._read, self.start, self.write, self.stop, inputs, self._score)

    def _read(self, path: str) -> dict[str, np.ndarray]:
        if not self.mean:
            raise ValueError(
                f"this run reads features of an encoder, and {path} has none: let the encoder look at it first "
                "(cs231n_jax.train.own_pictures, as experiments.decode does)"
            )
        return {"image": files.read_image(Path(path), self.shape)[None]}

    def _score(self, texts: Sequence[str], references: References) -> dict[str, Scored]:
        lower = self.target.lowercase
        grams = bleu(texts, references, lowercase=lower)
        others = {
            "rouge-l": rouge(texts, references, lowercase=lower),
            "cider-d": cider(texts, references, lowercase=lower),
        }
        found = {
            f"bleu-{n}": Scored(value, grams.signature.replace(f"BLEU-{len(grams.scores)}", f"BLEU-{n}"))
            for n, value in enumerate(grams.scores, 1)
        }
        return found | {name: Scored(each.score, each.signature) for name, each in others.items()}


def spread(alpha: Array, counted: Array) -> Array:
    """Σ_l (1 − Σ_t α_tl)² of each caption, over its own tokens; 0 where none counts.

    Args:
        alpha: where each token looked, [N, T, L], rows with sum 1.
        counted: which tokens count, [N, T] in 0 … 1.

    Reference: Xu et al. 2015, equation 14 (doubly stochastic attention).
    """
    counted = counted.astype(alpha.dtype)
    looked = (alpha * counted[..., None]).sum(1)
    return jnp.square(1.0 - looked).sum(-1) * counted.max(1)


def inputs(source: Source) -> Inputs:
    """The images of a split, each once, and all of its captions as references."""
    if not isinstance(source, Pictured):
        raise ValueError(f"the captions of {source.info.name} {source.info.split} are not at hand: give a whole split")
    numbers, first = np.unique(source.owner, return_index=True)
    captions: dict[int, list[str]] = {int(number): [] for number in numbers}
    for number, text in zip(source.owner, source.texts["target"]):
        captions[int(number)].append(text)

    def take(which: np.ndarray, length: int) -> dict[str, np.ndarray]:
        del length  # images have none
        return {"image": source[first[which]]["image"]}

    names = [f"image {number}" for number in numbers]
    return Inputs(take, np.ones(len(numbers), np.int64), names, list(captions.values()))
