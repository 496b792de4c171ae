import hashlib
import threading
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs231n_jax import data
from cs231n_jax.data.pipeline import permutation


class Counting:
    """Example i is the number i."""

    def __init__(self, size):
        self.size = size
        self.info = data.Info("counting", "train", {"image": (1, 1, 1), "label": ()}, 1, ("0",), "", (0.0,), (1.0,))

    def __len__(self):
        return self.size

    def __getitem__(self, indices):
        assert np.all((indices >= 0) & (indices < self.size))
        return {"image": np.zeros((len(indices), 1, 1, 1), np.uint8), "label": indices.astype(np.int32)}


def labels(pipeline, steps):
    return [pipeline.batch(step)["label"].tolist() for step in steps]


sizes = st.integers(1, 40)
processes = st.integers(1, 4)


@given(size=sizes, epoch=st.integers(0, 2**40), seed=st.integers(-5, 2**70))
def test_an_epoch_is_a_permutation(size, epoch, seed):
    assert sorted(permutation(seed, epoch, size)) == list(range(size))


def philox(counter, key):
    """Philox4x64-10 in plain integers (Salmon, Moraes, Dror and Shaw 2011, section 3.3)."""
    mask, c, k = 2**64 - 1, list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(b >> 64) ^ c[1] ^ k[0], b & mask, (a >> 64) ^ c[3] ^ k[1], a & mask]
        k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
    return c


@given(seed=st.integers(0, 2**64), epoch=st.integers(0, 99), size=sizes)
def test_the_order_is_the_same_on_every_machine_and_version(seed, epoch, size):
    digest = hashlib.sha256(f"{seed} shuffle {epoch}".encode()).digest()
    key = [int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")]
    numbers = [word for block in range(1, size // 4 + 2) for word in philox([block, 0, 0, 0], key)]
    assert permutation(seed, epoch, size).tolist() == sorted(range(size), key=lambda i: numbers[i])


def test_orders_differ_between_epochs_and_seeds():
    orders = {tuple(permutation(seed, epoch, 50)) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_every_place_is_equally_likely():
    firsts = np.bincount([permutation(0, epoch, 5)[0] for epoch in range(2000)], minlength=5)
    assert np.all(np.abs(firsts - 400) < 5 * np.sqrt(2000 * 0.2 * 0.8))


@given(size=sizes, local=st.integers(1, 5), count=processes, shuffle=st.booleans(), seed=st.integers(0, 9))
def test_resuming_at_any_step_gives_the_rest_of_the_stream(size, local, count, shuffle, seed):
    batch = local * count
    if batch > size:
        return
    source = Counting(size)
    streams = []
    for index in range(count):
        whole = data.Pipeline(source, batch, seed, shuffle, process_index=index, process_count=count)
        steps = 3 * whole.steps_per_epoch
        streams.append(labels(whole, range(steps)))
        for start in range(steps + 1):
            fresh = data.Pipeline(source, batch, seed, shuffle, process_index=index, process_count=count)
            assert labels(fresh, range(start, steps)) == streams[-1][start:]
        assert labels(whole, reversed(range(steps))) == streams[-1][::-1]
    # The processes' slices side by side are the batches of a single process.
    single = labels(data.Pipeline(source, batch, seed, shuffle), range(steps))
    assert [list(chain(*parts)) for parts in zip(*streams)] == single


@given(size=sizes, batch=sizes, seed=st.integers(0, 9))
def test_an_epoch_repeats_nothing_and_drops_only_the_ragged_tail(size, batch, seed):
    if batch > size:
        return
    pipeline = data.Pipeline(Counting(size), batch, seed)
    assert pipeline.steps_per_epoch == size // batch
    for epoch in range(3):
        first = epoch * pipeline.steps_per_epoch
        seen = list(chain(*labels(pipeline, range(first, first + pipeline.steps_per_epoch))))
        assert len(seen) == len(set(seen)) == size - size % batch


def test_without_shuffling_the_order_stands():
    assert labels(data.Pipeline(Counting(7), 3, 0, shuffle=False), range(3)) == [[0, 1, 2], [3, 4, 5], [0, 1, 2]]


def test_a_far_step_is_as_cheap_as_the_first():
    pipeline = data.Pipeline(Counting(10), 5, 0)
    far = 10**15
    assert pipeline.indices(far).tolist() == permutation(0, far // 2, 10)[:5].tolist()


def test_two_threads_may_read_different_epochs():
    pipeline = data.Pipeline(Counting(64), 16, 0)
    expected = labels(data.Pipeline(Counting(64), 16, 0), range(400))
    wrong = []

    def read(offset):
        for step in range(offset, 400, 2):
            if pipeline.batch(step)["label"].tolist() != expected[step]:
                wrong.append(step)

    threads = [threading.Thread(target=read, args=(offset,)) for offset in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 11}, "a batch of 11 is more than the 10 examples of counting train; set data.batch_size"),
        ({"batch_size": 0}, "a batch of 0 cannot be cut"),
        ({"batch_size": 5, "process_count": 2}, "a batch of 5 cannot be cut into 2 equal slices"),
        ({"batch_size": 4, "process_count": 2, "process_index": 2}, "process_index is 2; it must lie in 0 … 1"),
    ],
)
def test_impossible_batches_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        data.Pipeline(Counting(10), seed=0, **options)


def test_a_negative_step_is_refused():
    with pytest.raises(ValueError, match="counted from 0, got -1"):
        data.Pipeline(Counting(10), 5, 0).batch(-1)


@given(size=sizes, local=st.integers(1, 12), count=processes)
def test_evaluation_counts_every_example_once(size, local, count):
    streams = [
        list(data.eval_batches(Counting(size), local * count, process_index=index, process_count=count))
        for index in range(count)
    ]
    assert {len(stream) for stream in streams} == {-(-size // (local * count))}
    seen = []
    for batches in zip(*streams):
        for batch in batches:
            assert batch["label"].shape == batch["mask"].shape == (local,)
            assert batch["mask"].dtype == np.float32
            seen += batch["label"][batch["mask"] == 1].tolist()
            assert set(batch["label"][batch["mask"] == 0]) <= {size - 1}
            assert set(batch["mask"]) <= {0.0, 1.0}
    assert seen == list(range(size))


def test_evaluation_refuses_uneven_slices_at_the_call():
    with pytest.raises(ValueError, match="a batch of 5 cannot be cut into 2"):
        data.eval_batches(Counting(10), 5, process_count=2)
