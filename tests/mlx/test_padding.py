"""Reading in few shapes reads the same."""

import tempfile
from functools import cache
from pathlib import Path

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scaffolding.closeness import distance
from tests.scaffolding.families import DEVICE, VOCABULARY, write_random_model
from tests.scaffolding.timings import UNMEASURED

from allod.core.ids import SegmentId, SequenceId
from allod.core.shapes import padded_chunk
from allod.core.step import Keep, Restore
from allod.device.choose import choose
from allod.runner import caches, together
from allod.runner.load import load
from allod.runner.network import Network, Reading, Source
from allod.runner.padding import PaddedNetwork
from allod.runner.prefixes import PrefixShelf
from allod.runner.refusals import why_unpadded
from allod.runner.settings import RunnerSettings
from allod.runner.together import Part

FAMILIES = ("llama", "gemma3_text")
TOLERANCE = 2e-3
STATE, SEGMENT = SequenceId(0), SegmentId(1)


@cache
def network_of(family: str) -> Network:
    with tempfile.TemporaryDirectory() as folder:
        write_random_model(family, Path(folder) / family)
        return load(Path(folder) / family, RunnerSettings(), choose(DEVICE), 2**31, UNMEASURED).network


def tokens_of(count: int, start: int) -> list[int]:
    return [(7 * (start + place)) % (VOCABULARY - 2) + 1 for place in range(count)]


def read(network: Network, chunks: list[int]) -> tuple[Reading, mx.array]:
    """Read chunks of these lengths, then score three tokens one by one."""
    reading, start = Reading(network.make_state()), 0
    for count in chunks:
        network.read(tokens_of(count, start), reading, (), {})
        start += count
    scores = [
        network.logits(mx.array([[token]]), reading.state, mx.array([start + step], dtype=mx.int32))
        for step, token in enumerate((3, 5, 8))
    ]
    logits = mx.concatenate(scores, axis=1)
    mx.eval(logits)
    return reading, logits


@pytest.mark.parametrize("family", FAMILIES)
@given(chunks=st.lists(st.integers(1, 90), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_any_chunks_read_the_same_padded(family: str, chunks: list[int]) -> None:
    """What is scored behind padded chunks is what is scored behind plain ones, with windows that slide."""
    network = network_of(family)
    straight, expected = read(network, chunks)
    padded, found = read(PaddedNetwork(network), chunks)
    assert padded.extent == straight.extent
    assert distance(found, expected) < TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rows", [2, 3, 6, 7])
@pytest.mark.parametrize("begun", [0, 9, 40])
def test_prompts_behind_one_beginning_are_read_as_one(family: str, rows: int, begun: int) -> None:
    """Each is scored as it is by itself, and goes on so, whatever rows stand beside it: others, padding."""
    network = PaddedNetwork(network_of(family))
    shelf, first = PrefixShelf(network), Reading(network.make_state())
    if begun:
        network.read(tokens_of(begun, 0), first, (), {})
        shelf.keep(Keep(SEGMENT, STATE, 0, begun, tip=True), Source(first.state, first.extent))
    lengths = [40 + row for row in range(rows)]

    def reading() -> Reading:
        return shelf.restore(Restore(STATE, ((SEGMENT, begun),))) if begun else Reading(network.make_state())

    parts = [
        Part(tuple(tokens_of(length, row)), reading(), is_end=True) for row, length in enumerate(lengths)
    ]
    together.read(network, parts, VOCABULARY, pads_chunks=True)
    for row, (part, length) in enumerate(zip(parts, lengths, strict=True)):
        own = Part(tuple(tokens_of(length, row)), reading(), is_end=True)
        together.read(network, [own], VOCABULARY, pads_chunks=True)
        assert part.reading.extent == own.reading.extent
        scores = []
        for each in (part, own):
            assert each.scores is not None
            place = mx.array([begun + length], dtype=mx.int32)
            following = network.logits(mx.array([[3]]), each.reading.state, place)[:, 0]
            scores.append(mx.concatenate([each.scores, following]))
        assert distance(*scores) < TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_are_few(family: str) -> None:
    """Whatever the prompt's length, a chunk behind another has one of few shapes."""
    seen: set[tuple[int, ...]] = set()
    network = network_of(family)
    fused = mx.fast.scaled_dot_product_attention

    def note(queries: mx.array, keys: mx.array, *rest: mx.array, **named: object) -> mx.array:
        seen.add((queries.shape[2], keys.shape[2]))
        return fused(queries, keys, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mx.fast, "scaled_dot_product_attention", note)
        for first in range(40, 60):
            reading = Reading(network.make_state())
            for count in (first, first + 1):
                PaddedNetwork(network).read(tokens_of(count, 0), reading, (), {})
            mx.eval(caches.arrays(reading.state))
    assert {queries for queries, _ in seen} == {padded_chunk(40)}
    assert len(seen) <= 3


def test_a_state_that_takes_in_everything_is_not_padded() -> None:
    """A recurrent state would take in the padding as well."""
    assert "ArraysCache" in why_unpadded(network_of("qwen3_next").make_state())
    assert why_unpadded(network_of("llama").make_state()) == ""
