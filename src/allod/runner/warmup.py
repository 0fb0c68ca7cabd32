"""Using every shape that matters once, before anyone waits for it.

What is prepared so are kernels that are compiled, and plans that libraries make for a shape. It is done by
the steps that requests will take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from itertools import product
from typing import cast

import mlx.core as mx
from mlx_lm.models import cache as kinds

from allod.core.ids import SequenceId
from allod.core.ports import Runner
from allod.core.sampling import Sampling
from allod.core.shapes import LEAST_CONTEXT_TOKENS, chunk_lengths, rows_together
from allod.core.step import Join, Prefill, StepPlan
from allod.runner import caches, together
from allod.runner.caches import RowState
from allod.runner.network import Extent, Network, Reading
from allod.runner.together import Part

_MOST_CONTEXT_TOKENS = 8192
"""Longer ones are prepared when they come: that is a small part of what reading there takes."""

_MOST_ALONE_TOKENS = 4096
_TOGETHER_CONTEXTS = (LEAST_CONTEXT_TOKENS, 2 * LEAST_CONTEXT_TOKENS)
_STATE = SequenceId(0)
_SAMPLINGS = (
    Sampling(temperature=0.0),
    Sampling(temperature=0.7, top_p=0.9, top_k=40, min_p=0.05, seed=1),
    Sampling(temperature=1.0, repetition_penalty=1.1, frequency_penalty=0.1, top_logprobs=5),
)

_LEAST_TIMED_TOKENS = 32
_MOST_TIMED_TOKENS = 512
_TIMED_SECONDS = 0.1
"""A chunk that takes so long says what longer ones will."""

_SAID_TOKENS = 8
_SAYING_TRIES = 4

OnFraction = Callable[[float], None]


def warm_up(
    network: Network, runner: Runner, max_chunk_tokens: int, max_rows: int, on_fraction: OnFraction
) -> None:
    """Take every kind of step once; nothing of it is kept.

    Args:
        network: of the runner; it pads chunks.
        runner: idle.
        max_chunk_tokens: the longest chunk.
        max_rows: most rows of a step.
        on_fraction: called with how much is done.
    """
    context_tokens = min(_MOST_CONTEXT_TOKENS, runner.facts.context_tokens)
    lengths = chunk_lengths(min(max_chunk_tokens, context_tokens))
    pieces = [
        *_chunks(network, lengths, context_tokens),
        *(_together(network, lengths, runner.facts.vocabulary) if runner.facts.reads_together else ()),
        *_alone(network, min(_MOST_ALONE_TOKENS, context_tokens)),
        *_rows(runner, max_rows if runner.facts.batchable else 1),
    ]
    for done, piece in enumerate(pieces):
        piece()
        on_fraction((done + 1) / len(pieces))
    mx.clear_cache()


def warm_up_sampling(runner: Runner) -> None:
    """Take a step with rows of every kind of sampling, and one with chunks beside a row.

    Nothing else is prepared where this is called. What MLX compiles for a CPU is kept in the system's folder
    for temporary files, which a restart empties: the first answer then waited three seconds for it.

    Args:
        runner: idle; nothing is left in it.
    """
    samplings = _SAMPLINGS if runner.facts.batchable else _SAMPLINGS[:1]
    rows = tuple(SequenceId(1 + row) for row in range(len(samplings)))
    joining = Join(_STATE, tuple(zip(rows, samplings, strict=True)), 3, (1, 2, 3))
    runner.launch(StepPlan(prefill=(Prefill(_STATE, (1, 2)),), join=(joining,), decode=rows)).collect()
    others = tuple(SequenceId(1 + len(rows) + place) for place in range(2))
    reading = tuple(Prefill(state, (1, 2, 3)) for state in others)
    runner.launch(StepPlan(release=rows[1:], prefill=reading, decode=rows[:1])).collect()
    runner.launch(StepPlan(release=(*rows[:1], *others))).collect()
    mx.clear_cache()


def warm_up_alone(network: Network, max_chunk_tokens: int, max_context_tokens: int) -> None:
    """Take every kind of step that a model takes which follows one row.

    Args:
        network: it pads chunks.
        max_chunk_tokens: the longest chunk.
        max_context_tokens: the longest text.
    """
    context_tokens = min(_MOST_CONTEXT_TOKENS, max_context_tokens)
    lengths = chunk_lengths(min(max_chunk_tokens, context_tokens))
    alone = _alone(network, min(_MOST_ALONE_TOKENS, context_tokens))
    for piece in (*_chunks(network, lengths, context_tokens), *alone):
        piece()
    mx.clear_cache()


def time_chunk(network: Network, max_tokens: int) -> tuple[int, float]:
    """Read chunks, each twice as long as the one before, until one takes a while.

    Without this the first prompts would be read in chunks that grow from the smallest.

    Args:
        network: warmed up, where it needs that.
        max_tokens: the longest chunk.

    Returns:
        Length of the last, and the seconds that it took.
    """
    tokens = min(_LEAST_TIMED_TOKENS, max_tokens)
    _reading_seconds(network, tokens)  # the first of all is slower
    while True:
        seconds = _reading_seconds(network, tokens)
        if seconds >= _TIMED_SECONDS or 2 * tokens > min(_MOST_TIMED_TOKENS, max_tokens):
            mx.clear_cache()
            return tokens, seconds
        tokens *= 2


def time_saying(network: Network) -> float:
    """Seconds of one token, of some that a model says one after the other; the least of several tries."""
    return min(_saying_seconds(network) for _ in range(_SAYING_TRIES))


def _saying_seconds(network: Network) -> float:
    reading = Reading(network.make_state())
    network.read([1] * _LEAST_TIMED_TOKENS, reading, (), {})
    mx.eval(caches.arrays(reading.state))
    token = mx.array([1])
    started = time.perf_counter()
    for _ in range(_SAID_TOKENS):
        token = mx.argmax(network.logits(token[None], reading.state)[:, -1], axis=-1)
        mx.async_eval(token)
    mx.eval(token)
    return (time.perf_counter() - started) / _SAID_TOKENS


def _reading_seconds(network: Network, tokens: int) -> float:
    started = time.perf_counter()
    reading = Reading(network.make_state())
    network.read([1] * tokens, reading, (), {})
    mx.eval(caches.arrays(reading.state))
    return time.perf_counter() - started


def _chunks(network: Network, lengths: Sequence[int], context_tokens: int) -> Generator[Callable[[], None]]:
    """Every pair of chunk and context."""

    def read(before: int, length: int) -> None:
        reading = Reading(_held(network, before), Extent(before))
        network.read([1] * length, reading, (), {})
        mx.eval(caches.arrays(reading.state))

    contexts = [LEAST_CONTEXT_TOKENS]
    while contexts[-1] < context_tokens:
        contexts.append(2 * contexts[-1])
    for length in lengths:
        yield lambda length=length: read(0, length)
        for context in contexts:
            if length < context:
                yield lambda context=context, length=length: read(context - length, length)


def _together(network: Network, lengths: Sequence[int], vocabulary: int) -> Generator[Callable[[], None]]:
    """Chunks of several prompts, of every length and number that are read as one, behind short contexts."""

    def read(before: int, length: int, rows: int) -> None:
        parts = [Part((1,) * length, Reading(_held(network, before), Extent(before))) for _ in range(rows)]
        together.read(network, parts, vocabulary, pads_chunks=True)
        mx.eval([caches.arrays(part.reading.state) for part in parts])

    for length, wanted in product(lengths, (2, 4, 8)):
        rows = rows_together(wanted, length)
        if rows < wanted:
            continue
        for before in (0, *(context - length for context in _TOGETHER_CONTEXTS if context > length)):
            yield lambda before=before, length=length, rows=rows: read(before, length, rows)


def _alone(network: Network, most_tokens: int) -> Generator[Callable[[], None]]:
    """One row, at every size that its state grows to."""

    def score(tokens: int) -> None:
        places = mx.array([tokens - 1], dtype=mx.int32)
        mx.eval(network.logits(mx.array([[1]]), _held(network, tokens - 1), places))

    for tokens in range(kinds.KVCache.step, most_tokens + 1, kinds.KVCache.step):
        yield lambda tokens=tokens: score(tokens)


def _rows(runner: Runner, max_rows: int) -> Generator[Callable[[], None]]:
    """Every number of rows, joining one by one, with all kinds of sampling; then some leave and return."""
    rows = tuple(SequenceId(1 + row) for row in range(max_rows))

    def join(row: int) -> None:
        prompt = (1, 2, 3)
        chunk = Prefill(_STATE, prompt[:-1])
        sampling = _SAMPLINGS[row % len(_SAMPLINGS)]
        joining = Join(_STATE, ((rows[row], sampling),), prompt[-1], prompt)
        runner.launch(StepPlan(prefill=(chunk,), join=(joining,), decode=rows[: row + 1])).collect()

    def leave(going: tuple[SequenceId, ...], staying: tuple[SequenceId, ...]) -> None:
        runner.launch(StepPlan(release=going, decode=staying)).collect()

    def join_together(coming: tuple[SequenceId, ...], there: tuple[SequenceId, ...]) -> None:
        chunks = tuple(Prefill(each, (1, 2)) for each in coming)
        joining = tuple(Join(each, ((each, _SAMPLINGS[0]),), 3, ()) for each in coming)
        runner.launch(StepPlan(prefill=chunks, join=joining, decode=(*there, *coming))).collect()

    for row in range(max_rows):
        yield lambda row=row: join(row)
    if max_rows > 2:
        yield lambda: leave(rows[1::2], rows[::2])
        yield lambda: join_together(rows[1::2], rows[::2])
        yield lambda: leave(rows[1:], rows[:1])
        yield lambda: leave(rows[:1], ())
    else:
        yield lambda: leave(rows, ())


def _held(network: Network, tokens: int) -> RowState:
    """A state as it is behind so many tokens, with nothing in it."""
    state = network.make_state()
    if not tokens:
        return state
    sample = network.make_state()
    mx.eval(network.logits(mx.array([[1, 1]]), sample))
    for layer, known in zip(state, sample, strict=True):
        _fill(layer, cast("kinds.KVCache", known), tokens)
    return state


def _fill(layer: kinds.LayerCache, known: kinds.KVCache, tokens: int) -> None:
    window: int | None = getattr(layer, "max_size", None)
    held = -(-tokens // kinds.KVCache.step) * kinds.KVCache.step if window is None else min(tokens, window)
    assert known.keys is not None
    assert known.values is not None
    keys, values = (
        mx.zeros((*each.shape[:2], held, each.shape[3]), each.dtype) for each in (known.keys, known.values)
    )
    caches.hold(layer, keys, values, tokens)
