"""The rival in torch: the captioner of Show, Attend and Tell, its training step, and a beam search for one image."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AttentionCaptioner(nn.Module):
    """Feature maps [N, L, D] and captions [N, T] -> logits [N, T, V] and the weights of the places [N, T, L].

    Everything that need not be in the loop over steps is outside of it: what the places bring to the scores, and the
    logits. The second bias of torch's cell is 0 and not trained.

    Reference: Xu et al. 2015, equations 1 to 7, section 4.2.1 (the gate).
    """

    def __init__(self, tokens: int, embedding: int, hidden: int, features: int, attended: int):
        super().__init__()
        self.embedding = nn.Embedding(tokens, embedding)
        self.start_h, self.start_c = nn.Linear(features, hidden), nn.Linear(features, hidden)
        self.key, self.query = nn.Linear(features, attended), nn.Linear(hidden, attended, bias=False)
        self.score, self.gate = nn.Linear(attended, 1, bias=False), nn.Linear(hidden, 1)
        self.cell = nn.LSTMCell(embedding + features, hidden)
        self.cell.bias_hh.requires_grad_(False).zero_()
        self.deep_h, self.deep_z = nn.Linear(hidden, embedding), nn.Linear(features, embedding)
        self.head = nn.Linear(embedding, tokens)

    def forward(self, places: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The whole caption, the true tokens given."""
        words, keys, state = self.embedding(tokens), self.key(places), self.start(places)
        hs, contexts, alphas = [], [], []
        for t in range(tokens.shape[1]):
            state, context, alpha = self.advance(words[:, t], keys, places, state)
            hs.append(state[0])
            contexts.append(context)
            alphas.append(alpha)
        return self.logits(words, torch.stack(hs, 1), torch.stack(contexts, 1)), torch.stack(alphas, 1)

    def start(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """h and c before the first token [N, H]."""
        mean = places.mean(1)
        return torch.tanh(self.start_h(mean)), torch.tanh(self.start_c(mean))

    def advance(
        self, word: Tensor, keys: Tensor, places: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
        """One step: the new state, what was read [N, D], and where [N, L]."""
        h = state[0]
        alpha = self.score(torch.tanh(keys + self.query(h)[:, None])).squeeze(2).softmax(1)
        context = torch.sigmoid(self.gate(h)) * torch.bmm(alpha[:, None], places).squeeze(1)
        return self.cell(torch.cat((word, context), 1), state), context, alpha

    def logits(self, words: Tensor, h: Tensor, context: Tensor) -> Tensor:
        """The deep output."""
        return self.head(words + self.deep_h(h) + self.deep_z(context))


def loss(model: AttentionCaptioner, places: Tensor, tokens: Tensor, spread: float) -> Tensor:
    """Nats a token, with the doubly stochastic term `spread`·Σ_l (1 − Σ_t α_tl)² of each caption, for [N, T + 1]."""
    logits, alpha = model(places, tokens[:, :-1])
    nats = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum")
    return (nats + spread * (1 - alpha.sum(1)).square().sum()) / tokens[:, 1:].numel()


def make_step(model: AttentionCaptioner, learning_rate: float, spread: float) -> Callable[[Tensor, Tensor], Tensor]:
    """A function (places, tokens) -> loss that makes one update, with the fused kernel of Adam."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, learning_rate, fused=True)

    def step(places: Tensor, tokens: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        value = loss(model, places, tokens, spread)
        value.backward()
        optimizer.step()
        return value.detach()

    return step


@torch.inference_mode()
def beam_search(
    model: AttentionCaptioner,
    places: Tensor,
    steps: int,
    *,
    beam: int,
    begin: int,
    stop: int,
    keys_once: bool = True,
) -> list[int]:
    """The likeliest caption of one image that a search of this width finds.

    A hypothesis that ends leaves the search, which goes on with the others. Where none has ended after the last step,
    the best of those that go on is the answer.

    Args:
        model: what is searched with.
        places: of one image [1, L, D].
        steps: the most tokens of a caption.
        beam: how many hypotheses there are.
        begin: the token that is fed first.
        stop: the token that ends a hypothesis; −1: none does.
        keys_once: what the places bring to the scores is computed once; otherwise for every hypothesis in every step.
    """
    h, c = model.start(places)
    state = h.expand(beam, -1), c.expand(beam, -1)
    places = places.expand(beam, -1, -1)
    keys = model.key(places[:1]).expand(beam, -1, -1)
    sequences, totals = torch.full((beam, 1), begin), torch.zeros(beam, 1)
    ended: list[tuple[float, list[int]]] = []
    for t in range(steps):
        now, word = len(sequences), model.embedding(sequences[:, -1])
        if not keys_once:
            keys = model.key(places[:now])
        state, context, _ = model.advance(word, keys[:now], places[:now], state)
        scores = totals + F.log_softmax(model.logits(word, state[0], context), 1)
        ranked, index = (scores[0] if t == 0 else scores.flatten()).topk(now)
        parent, token = index // scores.shape[1], index % scores.shape[1]
        sequences = torch.cat((sequences[parent], token[:, None]), 1)
        over = token == stop
        ended += zip(ranked[over].tolist(), sequences[over, 1:].tolist())
        sequences, totals = sequences[~over], ranked[~over, None]
        state = state[0][parent[~over]], state[1][parent[~over]]
        if not len(sequences):
            break
    return max(ended)[1] if ended else sequences[0, 1:].tolist()


def state_dict(params: Mapping[str, Any]) -> dict[str, Tensor]:
    """Our parameters, or the gradients of them, with the names and layouts that they have here."""
    decoder = params["decoder"]
    h = np.asarray(decoder["hidden"]).shape[0]
    order = np.concatenate([np.arange(h) + part * h for part in (0, 1, 3, 2)])  # i, f, o, g -> i, f, g, o
    layers = {
        "start_h": params["decoder_h0"],
        "start_c": params["decoder_c0"],
        "key": params["alignment"],
        "query": {"kernel": decoder["query"]},
        "score": {"kernel": np.asarray(decoder["vector"])[:, None]},
        "gate": {"kernel": decoder["gate"], "bias": decoder["gate_bias"]},
        "deep_h": params["head_h"],
        "deep_z": params["head_z"],
        "head": params["head"],
    }
    cell = [np.asarray(decoder[name])[..., order] for name in ("input", "hidden", "bias")]
    found = {"embedding.weight": decoder["embedding"], "cell.bias_hh": np.zeros_like(cell[2])}
    found |= {"cell.weight_ih": cell[0].T, "cell.weight_hh": cell[1].T, "cell.bias_ih": cell[2]}
    for name, layer in layers.items():
        found[f"{name}.weight"] = np.asarray(layer["kernel"]).T
        found |= {f"{name}.bias": layer["bias"]} if "bias" in layer else {}
    return {name: torch.tensor(np.asarray(value)) for name, value in found.items()}
