"""Rows of unlike length decode together, and none is made as long as another."""

from typing import cast

import mlx.core as mx
import pytest
from msgspec import structs
from tests.scaffolding.families import VOCABULARY
from tests.scaffolding.memory import held_bytes

from allod.core.ids import SequenceId
from allod.core.sampling import Sampling
from allod.core.step import Join, Prefill, StepPlan
from allod.runner import caches
from allod.runner.batch import Batch, Group
from allod.runner.grouped import GroupedLayer, Masks, Pieces, Span, gather
from allod.runner.network import Extent
from allod.runner.sampling import Sampler, SamplerRow
from allod.runner.step import MlxRunner

pytestmark = pytest.mark.mlx

BUDGET_BYTES = 2**31
BOUNDS = (16, 64)
GREEDY = Sampling(temperature=0.0)


def grown_bytes(grouped_llama, bounds: tuple[int, ...], lengths: tuple[int, ...]) -> int:
    """What rows hold that decode together, their prompts as long as this."""
    loaded, facts = grouped_llama
    runner = MlxRunner(loaded.network, structs.replace(facts, group_bounds_tokens=bounds))
    before = held_bytes(runner)
    rows = tuple(SequenceId(place) for place in range(len(lengths)))
    for row, length in zip(rows, lengths, strict=True):
        prompt = tuple((7 * place + length) % VOCABULARY for place in range(length))
        runner.launch(StepPlan(prefill=(Prefill(row, prompt[:-1]),))).collect()
        joined = Join(row, ((row, GREEDY),), prompt[-1], ())
        runner.launch(StepPlan(join=(joined,), decode=rows[: row + 1])).collect()
    return held_bytes(runner) - before


def test_a_long_row_does_not_make_short_ones_long(grouped_llama) -> None:
    """Eight short rows beside a long one hold what they hold without it, not each as much as that."""
    short, long = (5, 9, 3, 12, 7, 6, 8, 10), 1000
    alone, beside = (
        grown_bytes(grouped_llama, BOUNDS, short),
        grown_bytes(grouped_llama, BOUNDS, (*short, long)),
    )
    one_long, padded = (
        grown_bytes(grouped_llama, BOUNDS, (long,)),
        grown_bytes(grouped_llama, (), (*short, long)),
    )
    assert beside < 1.25 * (alone + one_long)
    assert padded > 3 * beside


def batch_of(*rows: tuple[int, int]) -> Batch:
    """A batch of rows, (sequence, group) each, in the order given; states hold the sequence's number."""
    batch = Batch(Sampler(9))
    for sequence, place in rows:
        state = caches.kinds.KVCache()
        state.update_and_fetch(mx.zeros((1, 1, 3, 4)) + sequence, mx.zeros((1, 1, 3, 4)))
        sampler = Sampler(9, [SamplerRow(GREEDY, seed=sequence)])
        last = mx.array([sequence], dtype=mx.int32)
        batch.append(
            Batch(sampler, [SequenceId(sequence)], [Group(place, 1, [state])], last, [Extent(sequence)])
        )
    return batch


def held(batch: Batch) -> list[tuple[int, int, int, int]]:
    """Of each row: its sequence, seed, last token and extent; its state's number must be the same."""
    assert batch.last is not None
    numbers: list[int] = []
    for group in batch.groups:
        keys, _ = group.state[0].update_and_fetch(*[mx.zeros((group.rows, 1, 1, 4))] * 2)
        numbers += cast("list[int]", keys[:, 0, 2, 0].astype(mx.int32).tolist())
    assert numbers == batch.sequences
    last = cast("list[int]", batch.last.tolist())
    seeds = [row.seed for row in batch.sampler.rows]
    lengths = [extent.length for extent in batch.extents]
    return list(zip(batch.sequences, seeds, last, lengths, strict=True))


ROWS = ((1, 2), (2, 0), (3, 2), (4, 1), (5, 0), (6, 2))


def test_rows_of_a_group_stand_together_with_all_that_is_theirs() -> None:
    """Whatever the order in which they come: states, samplers, tokens and extents move as one."""
    batch = batch_of(*ROWS)
    assert [(group.place, group.rows) for group in batch.groups] == [(0, 2), (1, 1), (2, 3)]
    assert held(batch) == [(row, row, row, row) for row in (2, 5, 4, 1, 3, 6)]


@pytest.mark.parametrize("gone", [{4}, {2, 5}, {1, 6}, {1, 3, 6}, {2, 4, 6}, {1, 2, 3, 4, 5}, {9}])
def test_rows_leave_any_group(gone: set[int]) -> None:
    """What is left is as it was, in its order; a group that is empty is gone."""
    batch = batch_of(*ROWS)
    batch.drop([SequenceId(row) for row in gone])
    assert held(batch) == [(row, row, row, row) for row in (2, 5, 4, 1, 3, 6) if row not in gone]
    assert all(group.rows for group in batch.groups)


@pytest.mark.parametrize("wanted", [{4}, {2, 6}, {1, 3, 6}, {1, 2, 3, 4, 5, 6}])
def test_rows_move_to_another_batch_and_back(wanted: set[int]) -> None:
    """Parked and resumed, each row stands in its group again."""
    batch = batch_of(*ROWS)
    parked = batch.split([SequenceId(row) for row in wanted])
    assert {row for row, *_ in held(parked)} == wanted
    batch.append(parked)
    assert sorted(held(batch)) == [(row, row, row, row) for row in range(1, 7)]
    assert [(group.place, group.rows) for group in batch.groups] == [(0, 2), (1, 1), (2, 3)]


@pytest.mark.parametrize("drafted", [{4}, {2}, {1, 6}, {2, 5}, {1, 3, 6}, {1, 2, 3, 4, 5, 6}])
def test_rows_stand_apart_while_they_read_drafts_and_for_a_while(drafted: set[int]) -> None:
    """Each has a state of its own, and is in its group again when others read drafts and it long did not."""
    batch, sequences = batch_of(*ROWS), {SequenceId(row) for row in drafted}
    batch.set_apart(sequences)
    apart = [group for group in batch.groups if group.apart is not None]
    assert {group.apart for group in apart} <= sequences
    assert all(group.rows == 1 for group in apart)
    assert all(batch.source(sequence).row is None for sequence in sequences)
    for _ in range(16):
        batch.settle()
        assert len([group for group in batch.groups if group.apart is not None]) == len(apart)
    still = min(sequences)
    batch.set_apart([still])
    batch.settle()
    assert {group.apart for group in batch.groups} <= {None, still}
    for _ in range(16):
        batch.settle()
    assert [(group.place, group.rows) for group in batch.groups] == [(0, 2), (1, 1), (2, 3)]
    assert sorted(held(batch)) == [(row, row, row, row) for row in range(1, 7)]


def test_a_layer_gives_each_group_its_own() -> None:
    """Keys, values, masks and positions of each group are what its own cache would have said."""
    batch = batch_of(*ROWS)
    twin = batch_of(*ROWS)
    spans = [Span(2), Span(1), Span(3)]
    layer = gather([group.state for group in batch.groups], spans, [4, 5, 6, 7, 8, 9])[0]
    news = mx.arange(24, dtype=mx.float32).reshape(6, 1, 1, 4)
    mask = layer.make_mask(1)
    keys, _ = layer.update_and_fetch(news, news + 1)
    assert isinstance(keys, Pieces)
    assert isinstance(mask, Masks)
    own = [group.state[0] for group in twin.groups]
    masks = [each.make_mask(1, return_array=False, window_size=None) for each in own]
    wanted = [
        each.update_and_fetch(part, part + 1)[0]
        for each, part in zip(own, mx.split(news, [2, 3]), strict=True)
    ]
    assert all(mx.array_equal(*pair) for pair in zip(keys.each, wanted, strict=True))
    assert [each is None for each in mask.each] == [each is None for each in masks] == [False, True, False]
    assert cast("GroupedLayer", layer).offset.tolist() == [4, 5, 6, 7, 8, 9]


def test_a_chunk_beside_rows_is_a_chunk_to_its_cache() -> None:
    """Its tokens come as rows of one, and its cache takes them in as one row of several."""
    batch = batch_of((1, 0), (2, 0))
    alone, twin = caches.kinds.KVCache(), caches.kinds.KVCache()
    states = [batch.groups[0].state, [alone]]
    layer = gather(states, [Span(2), Span(1, 4)], [1, 2, 0, 1, 2, 3])[0]
    news = mx.random.normal((6, 1, 1, 4))
    keys, values = layer.update_and_fetch(news, 2 * news)
    mask = layer.make_mask(1)
    assert isinstance(keys, Pieces)
    assert isinstance(values, Pieces)
    assert isinstance(mask, Masks)
    chunk = news[2:].swapaxes(0, 2)
    wanted = twin.update_and_fetch(chunk, 2 * chunk)
    assert mx.array_equal(keys.each[1], wanted[0])
    assert mx.array_equal(values.each[1], wanted[1])
    assert mask.each[1] == twin.make_mask(4, return_array=False, window_size=None) == "causal"
