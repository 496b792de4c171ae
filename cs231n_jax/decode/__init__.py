"""Generation of sequences by any model that has a step: sampling, greedy, beam search.

It knows no model, only `step(carry, tokens [N]) -> (logits [N, V], carry)` and the carry that it begins with.
"""

from cs231n_jax.decode import beam, filters, sampling
from cs231n_jax.decode.beam import Hypotheses, beam_search
from cs231n_jax.decode.prompt import Step, feed
from cs231n_jax.decode.sampling import Samples, greedy, sample

__all__ = ["Hypotheses", "Samples", "Step", "beam", "beam_search", "feed", "filters", "greedy", "sample", "sampling"]
