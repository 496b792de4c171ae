"""Batches of like lengths: every example once, little padding, and the same from any step on."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs231n_jax import data
from cs231n_jax.data import buckets
from cs231n_jax.data.base import First
from cs231n_jax.data.pipeline import permutation

DECLARED = (3, 5, 9)


def source(lengths, declared=DECLARED, split="train"):
    """Example i has its number i so many times, then zeros."""
    lengths = np.array(lengths, np.int32)
    tokens = np.where(np.arange(declared[-1]) < lengths[:, None], np.arange(len(lengths))[:, None], 0).astype(np.int32)
    arrays = {"token": tokens, "length": lengths, "label": np.arange(len(lengths), dtype=np.int32)}
    shapes = {"token": (declared[-1],), "length": (), "label": ()}
    ragged = {"ragged": {"token": "length"}, "buckets": declared}
    return data.ArraySource(arrays, data.Info("made", split, shapes, 1, ("0",), "", (), (), **ragged))


lengths = st.lists(st.integers(1, 9), min_size=1, max_size=50)


@given(lengths, st.integers(1, 6), st.integers(0, 9))
def test_an_epoch_has_every_example_once_but_for_one_ragged_tail(lengths, batch, seed):
    if batch > len(lengths):
        return
    pipeline = data.Pipeline(source(lengths), batch, seed)
    steps = pipeline.steps_per_epoch
    assert steps == len(lengths) // batch
    for epoch in range(3):
        batches = [pipeline.batch(epoch * steps + k) for k in range(steps)]
        seen = list(chain(*(b["label"].tolist() for b in batches)))
        assert len(seen) == len(set(seen)) == steps * batch
        for k, b in enumerate(batches):
            width = DECLARED[pipeline.bucket(epoch * steps + k)]
            assert b["token"].shape == (batch, width)
            assert np.all(b["length"] <= width)
            np.testing.assert_array_equal(b["token"], source(lengths)[b["label"]]["token"][:, :width])


@given(lengths, st.integers(1, 3), st.integers(1, 3), st.integers(0, 9))
def test_any_step_can_be_the_first_and_any_number_of_processes_sees_the_same(lengths, local, count, seed):
    batch = local * count
    if batch > len(lengths):
        return
    whole = data.Pipeline(source(lengths), batch, seed)
    steps = 2 * whole.steps_per_epoch
    stream = [whole.batch(step) for step in range(steps)]
    parts = [data.Pipeline(source(lengths), batch, seed, process_index=i, process_count=count) for i in range(count)]
    for step in reversed(range(steps)):
        shares = [part.batch(step) for part in parts]
        for name, array in stream[step].items():
            np.testing.assert_array_equal(np.concatenate([share[name] for share in shares]), array)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 9), st.integers(0, 3))
def test_with_one_bucket_the_order_is_that_of_other_data(size, batch, seed, epoch):
    if batch > size:
        return
    order = permutation(seed, epoch, size)
    arranged, bucket = buckets.arrange(order, np.zeros(size, np.int64), 1, batch)
    np.testing.assert_array_equal(arranged, order[: size // batch * batch])
    assert not bucket.any()


def test_epochs_differ_and_buckets_alternate():
    pipeline = data.Pipeline(source(np.arange(900) % 9 + 1), 10, 0)
    orders = [[pipeline.indices(e * 90 + k).tolist() for k in range(90)] for e in range(2)]
    assert orders[0] != orders[1]
    kinds = np.array([pipeline.bucket(step) for step in range(90)])
    assert np.bincount(kinds).tolist() == [30, 20, 40]
    for third in np.split(kinds, 3):  # all of them from the beginning to the end
        assert np.all(np.abs(np.bincount(third, minlength=3) - [10, 20 / 3, 40 / 3]) <= 3)


def test_buckets_save_padding():
    """Printed: the share of padding without and with buckets."""
    lengths = np.random.default_rng(0).integers(1, 10, 600)
    found = {}
    for declared in ((9,), DECLARED):
        pipeline = data.Pipeline(source(lengths, declared), 20, 0)
        batches = [pipeline.batch(step) for step in range(pipeline.steps_per_epoch)]
        tokens = np.concatenate([b["length"] for b in batches])
        found[len(declared)] = buckets.waste(tokens, np.concatenate([[b["token"].shape[1]] * 20 for b in batches]))
    print(f"padding: {found[1]:.3f} in one bucket, {found[3]:.3f} in three")
    assert found[1] == pytest.approx(1 - lengths.mean() / 9)
    assert found[3] < 0.55 * found[1]


@given(lengths, st.integers(1, 4), st.integers(1, 3))
def test_evaluation_counts_every_example_once_in_batches_that_fit(lengths, local, count):
    lengths = sorted(lengths)
    batch = local * count
    streams = [
        list(data.eval_batches(source(lengths), batch, process_index=i, process_count=count)) for i in range(count)
    ]
    seen = []
    for first, *others in zip(*streams):
        together = np.concatenate([b["length"] for b in (first, *others)])
        width = min(length for length in DECLARED if length >= together.max())
        assert all(b["token"].shape == (local, width) for b in (first, *others))
        for b in (first, *others):
            seen += b["label"][b["mask"] == 1].tolist()
    assert seen == list(range(len(lengths)))


class Photographs:
    """Of the examples of a source; remembers how many were read at once."""

    def __init__(self, count):
        self.count, self.read = count, []

    def __len__(self):
        return self.count

    def __getitem__(self, which):
        self.read.append(len(which))
        return np.zeros((len(which), 2, 2, 1), np.uint8)


@pytest.mark.parametrize("limit", [0, 70])
def test_pictures_beside_sentences_are_read_a_batch_at_a_time_and_once(limit):
    made, photographs = source(np.arange(90) % 9 + 1), Photographs(90)
    whole = data.ArraySource({**made.arrays, "image": photographs}, made.info)
    some = First(whole, limit) if limit else whole
    pipeline = data.Pipeline(some, 10, 0)
    assert not photographs.read
    batches = [pipeline.batch(step) for step in range(pipeline.steps_per_epoch)]
    assert photographs.read == [10] * len(batches)
    assert len(batches) == (limit or 90) // 10
    photographs.read.clear()
    assert len(list(data.eval_batches(some, 20, process_index=1, process_count=2))) == len(photographs.read)
    assert set(photographs.read) == {10}


class Own:
    """A user's own source, of which nothing is known but that it is one."""

    def __init__(self, made):
        self.made, self.info, self.read = made, made.info, []

    def __len__(self):
        return len(self.made)

    def __getitem__(self, indices):
        self.read.append(len(indices))
        return self.made[indices]


@pytest.mark.parametrize("count", [7, 8, 20])
def test_lengths_of_a_users_own_source_are_read_in_blocks(count, monkeypatch):
    monkeypatch.setattr(buckets, "BLOCK", 8)
    made = source(np.arange(count) % 9 + 1)
    own = Own(made)
    np.testing.assert_array_equal(buckets.every_length(own), made.arrays["length"])
    assert sum(own.read) == count
    assert max(own.read) <= 8
    first, second = data.Pipeline(own, 4, 0), data.Pipeline(made, 4, 0)
    assert [first.indices(k).tolist() for k in range(9)] == [second.indices(k).tolist() for k in range(9)]


def test_an_example_that_no_bucket_holds_is_explained():
    with pytest.raises(ValueError, match=r"longest example has 12 tokens, the longest bucket 9: add a bucket"):
        buckets.assign(np.array([3, 12]), DECLARED)
