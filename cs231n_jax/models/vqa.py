"""Answers to questions about images: stacked attention, and what it has to beat."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cs231n_jax.models import backbones
from cs231n_jax.models.backbones import Backbone
from cs231n_jax.models.base import Model, Variant
from cs231n_jax.models.layers import Dense, dropout, parameter
from cs231n_jax.models.recurrent_layers import Recurrent, WeightsInit, embedded, some_tokens
from cs231n_jax.ops import attention, init
from cs231n_jax.typing import Array

Kind = Literal["question", "image", "product", "stacked"]
TINY = 1e-12  # of a squared length


class Vqa(Model):
    """Images [N, H, W, C] and questions [N, T] of so many tokens [N] -> logits [N, K] of the answers.

    q is the state of an LSTM after the last token of the question; a_l are the features of the L places of the image
    (see `Backbone`), a those of all places side by side. The answer comes from

    - "question": q alone; "image": a / ‖a‖ alone; "product": tanh(W_q·q + b_q) ⊙ tanh(W_i·a / ‖a‖ + b_i);
      each through two hidden layers of tanh units, fc1 and fc2;
    - "stacked": u_K, where v_l = tanh(W_I·a_l + b_I), u_0 = q, and hop k of K looks where u_{k−1} points to:
      p_k = softmax_l(w_k·tanh(W_kI·v_l + W_kQ·u_{k−1} + b_k)),   u_k = Σ_l p_kl·v_l + u_{k−1}.

    Then logits = W·x + b. A sum u_K cannot tell by one layer whether what was asked for is what was seen; with `deep`
    it goes through fc1 and fc2 too. It computes in the dtype of its images.

    Reference: Yang et al. 2016, "Stacked Attention Networks for Image Question Answering", equations 1 to 20, with an
    LSTM for the question; "product": Antol et al. 2015, "VQA: Visual Question Answering", section 4 (LSTM Q + norm I);
    `deep`: Johnson et al. 2017, "Inferring and Executing Programs for Visual Reasoning", section 4.1 (CNN+LSTM+SA+MLP).
    *Deviation*: the scores of a hop have no bias, which a softmax takes out again; in "product" one LSTM layer and its
    last h alone; all hidden layers have H units.
    """

    backbone: str = backbones.NONE
    stage: str = ""  # of the backbone
    kind: Kind = "stacked"
    hops: int = 1  # K
    vocabulary: int = 10_000  # tokens of the questions
    embedding: int = 300  # size of a learned vector for each of them
    hidden: int = 512  # H, of q, v_l and the hidden layers
    attended: int = 256  # units of the hidden layer of a hop's scores
    deep: bool = False  # "stacked": fc1 and fc2 between u_K and the answer, as the other kinds have
    drop_rate: float = 0.0  # of the embedding, of what is looked at or joined, and before the last layer
    weights_init: WeightsInit = "lecture"
    forget_bias: float = 1.0  # at the start, of the LSTM

    reads = ("image", "token", "length")

    @property
    def stages(self) -> tuple[str, ...]:
        """Of backbone, image, question, attention1, attention2, ..., fc1, fc2 what the kind has."""
        image = ("backbone",) if self.backbone != backbones.NONE else ()
        image += ("image",) if self.kind in ("product", "stacked") else ()
        hops = tuple(f"attention{k + 1}" for k in range(self.hops))
        seen = image if self.kind != "question" else ()
        read = ("question",) if self.kind != "image" else ()
        stacked = self.kind == "stacked"
        return (*seen, *read, *(hops if stacked else ()), *(() if stacked and not self.deep else ("fc1", "fc2")))

    def validate(self) -> None:
        """Refuse a backbone that there is not; raises ValueError."""
        backbones.check_options(self.name or type(self).__name__, self.backbone, self.stage)
        if not self.embedding:
            raise ValueError("embedding=0 leaves the LSTM nothing to read: give the size of a token's vector")

    def check_input(self, x: Array, token: Array | None = None, length: Array | None = None) -> None:
        """Refuse what is no batch of images and of tokens; raises ValueError."""
        label = self.name or type(self).__name__
        backbones.check_images(label, self.backbone, x)
        if token is not None and (token.ndim != 2 or not jnp.issubdtype(token.dtype, jnp.integer)):
            raise ValueError(
                f"{label} takes questions, integers [N, T], got {token.dtype} of shape {list(token.shape)}"
            )
        if length is not None and length.shape != x.shape[:1]:
            raise ValueError(f"{label} got lengths of shape {list(length.shape)} for {len(x)} questions: one for each")

    def __call__(
        self,
        x: Array,
        token: Array | None = None,
        length: Array | None = None,
        *,
        train: bool = False,
        noise: bool = False,
    ) -> Array:
        """The logits alone."""
        return self.features(x, token, length, train=train, noise=noise)["logits"]

    @nn.compact
    def features(
        self,
        x: Array,
        token: Array | None = None,
        length: Array | None = None,
        *,
        train: bool = False,
        noise: bool = False,
    ) -> dict[str, Array]:
        """What each stage gives, "pre_logits" and "logits"; of a hop the weights p_k [N, L].

        Args:
            x: images [N, H, W, C], or their features [N, D] or [N, h, w, D].
            token: the questions [N, T]; by default three tokens, to see the shapes of things.
            length: of each question, [N], integers from 1 to T; T by default.
            train: of the backbone.
            noise: of the backbone, and drop units at random.
        """
        self.check_input(x, token, length)
        features: dict[str, Array] = {}
        if self.kind != "question":
            places = Backbone(self.backbone, self.stage, name="backbone")(x, self.mode("backbone", train, noise))
            features |= {"backbone": places} if self.backbone != backbones.NONE else {}
            features |= self._image(places)
        if self.kind != "image":
            features |= self._question(x, token, length, train, noise)
        features |= self._stacked(features, train, noise) if self.kind == "stacked" else self._joined(features)
        if "fc1" in self.stages:
            features |= self._answered(features["last"], train, noise)
        x = dropout(self, features.pop("last"), self.drop_rate, self.mode("head", train, noise))
        head = Dense(self.num_classes, init=init.lecture_xavier, name="head")
        return {name: value for name, value in features.items() if name in self.stages} | {
            "pre_logits": x,
            "logits": head(x),
        }

    def _image(self, places: Array) -> dict[str, Array]:
        """As the kind has it: [N, L, H] of the places; [N, H]; or of "image" the normalised features [N, L·D]."""
        if self.kind == "stacked":
            return {"image": jnp.tanh(self._dense("image")(places))}
        unit = normalised(backbones.side_by_side(places))
        return {"image": jnp.tanh(self._dense("image")(unit)) if self.kind == "product" else unit}

    def _question(
        self, x: Array, token: Array | None, length: Array | None, train: bool, noise: bool
    ) -> dict[str, Array]:
        token = some_tokens(len(x), self.vocabulary) if token is None else token
        words = embedded(self, "question_embedding", token, self.vocabulary, self.embedding, self.embedding**-0.5)
        words = dropout(self, words.astype(x.dtype), self.drop_rate, self.mode("question", train, noise))
        layer = Recurrent(self.hidden, "lstm", self.weights_init, self.forget_bias, name="question_layer")
        q = layer(words, lengths=length)[1]["h"].astype(x.dtype)
        return {"question": jnp.tanh(self._dense("question_out")(q)) if self.kind == "product" else q}

    def _stacked(self, features: dict[str, Array], train: bool, noise: bool) -> dict[str, Array]:
        """The weights of each hop, and "last", u_K."""
        u, image, found = features["question"], features["image"], {}
        for stage in (f"attention{k + 1}" for k in range(self.hops)):
            mode = self.mode(stage, train, noise)
            keys = self._dense(f"{stage}_image", self.attended, use_bias=False)(image)
            query = self._dense(f"{stage}_question", self.attended)(u)[:, None]
            vector = parameter(self, f"{stage}_vector", init.normal((self.attended,), self.attended**-0.5))
            weights = attention.weigh(attention.additive(query, keys, vector.astype(keys.dtype)))
            found[stage] = weights[:, 0]
            u = u + dropout(self, attention.read(weights, image)[:, 0], self.drop_rate, mode)
        return {**found, "last": u}

    def _joined(self, features: dict[str, Array]) -> dict[str, Array]:
        """As "last" what the hidden layers are given without attention."""
        both = self.kind == "product"
        return {"last": features["question"] * features["image"] if both else features[self.kind]}

    def _answered(self, x: Array, train: bool, noise: bool) -> dict[str, Array]:
        """The two hidden layers, and "last", the second."""
        found: dict[str, Array] = {}
        for stage in ("fc1", "fc2"):
            x = dropout(self, x, self.drop_rate, self.mode(stage, train, noise))
            x = found[stage] = jnp.tanh(self._dense(stage)(x))
        return {**found, "last": x}

    def _dense(self, name: str, features: int = 0, use_bias: bool = True) -> Dense:
        return Dense(features or self.hidden, use_bias, init.lecture_xavier, name=name)


def normalised(x: Array) -> Array:
    """x / ‖x‖ of each row; 0 where that is 0: [N, D] -> [N, D]."""
    return x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + TINY)


TOKENS, CLASSES, FEATURES, PLACES = 10_000, 1000, 512, 8 * 8


def _count(kind: Kind, hops: int = 1, embedding: int = 300, hidden: int = 512, attended: int = 256) -> int:
    """With the default options, on features of 8×8 places, as of a VGG on 256×256 pixels."""
    lstm = TOKENS * embedding + 4 * hidden * (embedding + hidden + 1)
    square, head = (hidden + 1) * hidden, (hidden + 1) * CLASSES
    if kind == "stacked":
        hop = 2 * hidden * attended + 2 * attended
        return lstm + (FEATURES + 1) * hidden + hops * hop + head
    whole = PLACES * FEATURES + 1
    first = {"question": square, "image": whole * hidden, "product": square}[kind]
    return (kind != "image") * lstm + (kind == "product") * (square + whole * hidden) + first + square + head


def _variant(kind: Kind, hops: int = 1) -> Variant:
    fixed = {"activation": "tanh", "remat": False, "ghost_batch": 0, "kind": kind, "hops": hops}
    return Variant(Vqa, fixed, (8, 8, FEATURES), _count(kind, hops), {"num_classes": CLASSES})


VARIANTS = {
    "vqa_question": _variant("question"),
    "vqa_image": _variant("image"),
    "vqa_product": _variant("product"),
    "vqa_stacked": _variant("stacked"),
    "vqa_stacked2": _variant("stacked", hops=2),
}
