"""Sentences about images: a network of images, and a recurrent decoder that begins from what it says or looks at it.

How a decoder uses one, for N images and N·B hypotheses:

    (memory, carry), _ = functional.apply(model, params, model_state, images, method="encode")
    (logits, carry), _ = functional.apply(model, params, model_state, carry, token, memory, method="step")
"""

from typing import Any

import jax.numpy as jnp

from cs231n_jax.models import backbones
from cs231n_jax.models.backbones import Backbone
from cs231n_jax.models.base import Model, Variant
from cs231n_jax.models.encoder_decoder import Decoder
from cs231n_jax.models.layers import Dense, dropout
from cs231n_jax.models.recurrent_layers import KINDS, CellName, State, WeightsInit, some_tokens
from cs231n_jax.ops import attention, init
from cs231n_jax.ops.attention import Memory
from cs231n_jax.ops.precision import at_least_float32
from cs231n_jax.typing import Array


class Captioner(Model):
    """Images [N, H, W, C] and captions [N, T] -> logits [N, T, V] of the token that follows each; V = num_classes.

    h_0 = W_p·a + b_p, where a are the features of all places of the image, side by side; h_t = cell(E·y_t, h_{t−1});
    logits = W·h_t + b. An LSTM's c_0 is 0. With backbone="none" images are features [N, D], as of a fully connected
    layer; else those of a network of this package at one of its stages. It computes in the dtype of its images.

    Reference: Vinyals et al. 2015, "Show and Tell"; Karpathy, Fei-Fei 2015, section 3.3; with backbone="none" the
    CaptioningRNN of cs231n's assignments, there with D = 512. *Deviation*: from Vinyals et al. in that the image is the
    first state and not the first input; embeddings begin at N(0, 1/embedding), in the assignments at N(0, 0.01²).
    """

    backbone: str = backbones.NONE
    stage: str = ""  # of the backbone
    cell: CellName = "lstm"
    embedding: int = 256  # E
    hidden: int = 512  # H
    drop_rate: float = 0.0  # of the embedding, and of what goes into the last layer
    weights_init: WeightsInit = "lecture"
    forget_bias: float = 0.0  # at the start, of an LSTM; 0 as in the assignments
    embedding_std: float = 0.0  # of the tokens' vectors at the start; 0: 1/√embedding; 0.01 in the assignments

    reads = ("image", "target")
    attentive = False

    @property
    def stages(self) -> tuple[str, ...]:
        """The backbone, where there is one; the decoder; the alignment, where there is attention."""
        seen = () if self.backbone == backbones.NONE else ("backbone",)
        return (*seen, "decoder", *(("alignment",) if self.attentive else ()))

    def validate(self) -> None:
        """Refuse a backbone that there is not; raises ValueError."""
        backbones.check_options(self.name or type(self).__name__, self.backbone, self.stage)
        if not self.embedding:
            raise ValueError("embedding=0 leaves the decoder nothing to read: give the size of a token's vector")

    def check_input(self, x: Array) -> None:
        """Refuse what is no batch of images or features; raises ValueError."""
        backbones.check_images(self.name or type(self).__name__, self.backbone, x)

    def setup(self) -> None:
        """The parts."""
        shared = (self.embedding, self.hidden, self.cell, self.weights_init, self.forget_bias, self.drop_rate)
        self.eyes = Backbone(self.backbone, self.stage, name="backbone")
        parts = {"attentive": self.attentive, "gated": self.attentive, "embedding_std": self.embedding_std}
        self.decoder = Decoder(self.num_classes, *shared, **parts)
        self.decoder_h0 = Dense(self.hidden, init=init.lecture_xavier)
        self.head = Dense(self.num_classes, init=init.lecture_xavier)

    def __call__(self, x: Array, target: Array | None = None, *, train: bool = False, noise: bool = False) -> Array:
        """The logits alone."""
        return self.features(x, target, train=train, noise=noise)["logits"]

    def features(
        self, x: Array, target: Array | None = None, *, train: bool = False, noise: bool = False
    ) -> dict[str, Array]:
        """The backbone's feature [N, L, D], the decoder's outputs [N, T, H], "pre_logits" and "logits".

        With attention also "alignment", α [N, T, L].

        Args:
            x: images [N, H, W, C], or their features [N, D] or [N, h, w, D].
            target: the caption's tokens that the decoder is fed [N, T]; by default three, to see the shapes of things.
            train: of the backbone.
            noise: of the backbone, and drop units at random.
        """
        places = self._places(x, train, noise)
        memory, state = self._encoded(places)
        target = some_tokens(len(x), self.num_classes) if target is None else target
        features, _ = self._decoded(target, state, memory, x.dtype, train, noise)
        return {**({"backbone": places} if "backbone" in self.stages else {}), **features}

    def encode(self, x: Array, *, train: bool = False, noise: bool = False) -> tuple[Memory | None, State]:
        """What stays the same for all steps, nothing without attention; the first state, each part [N, H].

        The memory has the exponentials of its keys, so that a decoder's steps have scores by
        `attention.additive_of_exponentials`, without a tanh.
        """
        memory, state = self._encoded(self._places(x, train, noise))
        return memory and memory._replace(exponentials=attention.exponentials_by_unit(memory.keys)), state

    def step(
        self, carry: State, token: Array, memory: Memory | None, *, train: bool = False, noise: bool = False
    ) -> tuple[Array, State]:
        """One token of each hypothesis, [N·B] for N images: logits [N·B, V] of the next, and the carry after it."""
        dtype = None if memory is None else memory.values.dtype
        features, carry = self._decoded(token[:, None], carry, memory, dtype, train, noise)
        return features["logits"][:, 0], carry

    def _places(self, x: Array, train: bool, noise: bool) -> Array:
        self.check_input(x)
        return self.eyes(x, self.mode("backbone", train, noise))

    def _encoded(self, places: Array) -> tuple[Memory | None, State]:
        h = _wide(self.decoder_h0(backbones.side_by_side(places)))
        return None, {part: h if part == "h" else jnp.zeros_like(h) for part in KINDS[self.cell].parts}

    def _decoded(
        self, tokens: Array, state: State, memory: Memory | None, dtype: Any, train: bool, noise: bool
    ) -> tuple[dict[str, Array], State]:
        """`dtype`: that of the images, where it is not that of the parameters."""
        mode = self.mode("decoder", train, noise)
        h, context, alpha, words, state = self.decoder(tokens, state, memory, mode, dtype)
        features = {"decoder": h} | ({} if alpha is None else {"alignment": alpha})
        x = h if context is None else self._deep(words, h, context)
        x = dropout(self, x, self.drop_rate, self.mode("head", train, noise))
        return {**features, "pre_logits": x, "logits": self.head(x)}, state

    def _deep(self, words: Array, h: Array, context: Array) -> Array:
        """What the last layer is given where there is a context."""
        raise NotImplementedError


class AttentionCaptioner(Captioner):
    """Images [N, H, W, C] and captions [N, T] -> logits [N, T, V]; at each step the decoder looks at the L places.

    With the features a_l of the places, ā = 1/L Σ_l a_l and an LSTM that begins from

        h_0 = tanh(W_h·ā + b_h),   c_0 = tanh(W_c·ā + b_c),

    each step is

        e_tl = v·tanh(W_a·h_{t−1} + U_a·a_l + b_a),   α_t = softmax_l(e_tl),   β_t = σ(w_β·h_{t−1} + b_β)
        z_t = β_t Σ_l α_tl·a_l,   h_t = LSTM([E·y_t; z_t], h_{t−1}),   logits = W·(E·y_t + L_h·h_t + L_z·z_t) + b.

    The term that spreads attention over the image, λ·Σ_l (1 − Σ_t α_tl)², is added by the task.

    Reference: Xu et al. 2015, "Show, Attend and Tell", sections 3.1 and 4.2 (soft attention), equations 1 to 7 and 14;
    the hidden layer of the scores is that of Bahdanau, Cho, Bengio 2015. *Deviation*: L_h and L_z have biases; the code
    of the authors adds a tanh in front of W, which their equation 7 has not.
    """

    attended: int = 256  # A, units of the hidden layer of the scores

    attentive = True

    def setup(self) -> None:
        """The parts; those of each step lie in the decoder."""
        super().setup()
        self.decoder_c0 = Dense(self.hidden, init=init.lecture_xavier)
        self.alignment = Dense(self.attended, init=init.lecture_xavier)
        self.head_h = Dense(self.embedding, init=init.lecture_xavier)
        self.head_z = Dense(self.embedding, init=init.lecture_xavier)

    def _encoded(self, places: Array) -> tuple[Memory | None, State]:
        mean = places.mean(1)
        layers = {"h": self.decoder_h0, "c": self.decoder_c0}
        state = {part: _wide(jnp.tanh(layer(mean))) for part, layer in layers.items()}
        return Memory(self.alignment(places), places), state

    def _deep(self, words: Array, h: Array, context: Array) -> Array:
        return words + self.head_h(h) + self.head_z(context)


def _wide(x: Array) -> Array:
    return x.astype(at_least_float32(x.dtype))


SIZE, FEATURES = 1004, 512  # tokens and features of the assignments


def _count(gates: int, size: int = SIZE, features: int = FEATURES, embedding: int = 256, hidden: int = 512) -> int:
    layer = gates * hidden * (embedding + hidden + 1)
    return (features + 1) * hidden + size * embedding + layer + (hidden + 1) * size


def _attention_count(
    size: int = SIZE, features: int = FEATURES, embedding: int = 256, hidden: int = 512, attended: int = 256
) -> int:
    start, words = 2 * (features + 1) * hidden, size * embedding
    layer = 4 * hidden * (embedding + features + hidden + 1)
    looking = hidden * attended + attended + (features + 1) * attended + hidden + 1  # W_a, v, U_a and b_a, the gate
    return start + words + layer + looking + (hidden + features + 2) * embedding + (embedding + 1) * size


_FIXED = {"activation": "tanh", "remat": False, "ghost_batch": 0}
_FREE = {"num_classes": SIZE}
VARIANTS = {
    "captioner_rnn": Variant(Captioner, {**_FIXED, "cell": "rnn", "forget_bias": 0.0}, (FEATURES,), _count(1), _FREE),
    "captioner_lstm": Variant(Captioner, {**_FIXED, "cell": "lstm"}, (FEATURES,), _count(4), _FREE),
    "attention_captioner": Variant(
        AttentionCaptioner,
        {**_FIXED, "cell": "lstm"},
        (14, 14, FEATURES),
        _attention_count(),
        {**_FREE, "forget_bias": 1.0},
    ),
}
