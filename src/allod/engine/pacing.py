"""How large the next prefill chunk may be, so that streams keep flowing beside it.

A step that decodes and prefills takes about `decode + chunk * cost`. Both are learned from the steps
that come back. Attribution between the two need not be exact: a decode cost that is believed too low
shows up in the cost per token, and the chunk settles where the sum meets the target all the same.

A token costs more the more there is before it, since it attends to all of that: `base + slope * context`. The
slope is learned from chunks of one prompt that follow one another. Without it a chunk would be as large as
the one before it allowed, and late.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto
from math import sqrt

FIRST_CHUNK_TOKENS = 32
"""Before anything is measured; larger chunks are reached by doubling what has been seen to work."""

LEAST_CHUNK_TOKENS = 16
"""Chunks are never smaller: a prompt must get on, even if the bound breaks."""

CHUNK_MULTIPLE_TOKENS = 16
"""What matrix kernels like. Chunks of at least ROUND_FROM_TOKENS are multiples of it."""

ROUND_FROM_TOKENS = 128
"""Small chunks are not rounded. A chunk reads all weights whatever its size, so the price per token falls
as the chunk grows; rounding down would hide that and hold a chunk at 16 tokens that could be 60."""

STALL_SHARE = 0.8
"""Share of the allowed stall that is aimed at; the rest absorbs what was not foreseen."""

ALONE_SECONDS = 1.0
"""Longest chunk when no stream waits for it: a cancel or a newcomer waits for the end of the chunk."""

WHOLE_SHARE = 0.25
"""Where no stream waits, a prompt is read to its end if that takes at most this much longer: what is cut off
would be read alone, in a pass over all weights. It was a fifth of a burst of sixteen prompts."""

SLOW_STEPS = 3
"""Where a decode step takes a large part of the allowed stall, chunks would shrink to a few tokens, for which
as many weights are read as for many: a step may then take the time of so many decode steps."""


class Beside(Enum):
    """Who decodes in the steps that read a prompt, and so waits for it.

    Of prompts that come at once, those read first would decode a few rows at a time, at nearly what a step
    of all rows costs, and the last would wait for that. So rows that have only begun wait longer.
    """

    NOBODY = auto()
    BEGINNERS = auto()
    STREAMS = auto()

    @property
    def decodes(self) -> bool:
        """Whether rows decode in the step."""
        return self is not Beside.NOBODY


@dataclass(frozen=True, slots=True)
class Spent:
    """What a step reads already of other prompts: so many tokens, believed to take so long."""

    tokens: int = 0
    seconds: float = 0.0


NOTHING = Spent()

_DECODE_WEIGHT = 0.25
_PREFILL_WEIGHT = 0.5
_SLOPE_WEIGHT = 0.5
_LEAST_TOKEN_SECONDS = 1e-9


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk that came back: what stood before it, its size, and what a token of it cost.

    One that was of several prompts stands for one of average size and context.
    """

    context: int
    size: int
    token_seconds: float
    prompts: int = 1

    @property
    def middle(self) -> float:
        """How much its tokens had before them, on average."""
        return self.context + self.size / self.prompts / 2


class PrefillPacer:
    """Learns what steps cost and sizes chunks.

    Args:
        max_chunk_tokens: never plan more.
        max_stall_seconds: longest a decoding row should wait for a chunk.
    """

    def __init__(self, max_chunk_tokens: int, max_stall_seconds: float) -> None:
        self._max_chunk_tokens = max_chunk_tokens
        self._target_seconds = STALL_SHARE * max_stall_seconds
        self._decode_seconds: float | None = None
        self._token_seconds: float | None = None
        self._slope = 0.0
        self._last = _Chunk(0, 0, 0.0)
        self._tried_tokens = FIRST_CHUNK_TOKENS
        self._asked_tokens = FIRST_CHUNK_TOKENS

    def chunk_tokens(
        self,
        *,
        beside: Beside,
        cap_tokens: int,
        context_tokens: int = 0,
        spent: Spent = NOTHING,
        rest_tokens: int = 0,
    ) -> int:
        """The most tokens of the next chunk: at least 16, and a multiple of 16 once that is a small part.

        Args:
            beside: who decodes in the same step.
            cap_tokens: most that memory allows in the step.
            context_tokens: what stands before the chunk.
            spent: what the step reads already.
            rest_tokens: what its prompt has left.

        Returns:
            0 where something is read already and there is no room for 16 tokens more.
        """
        limit = self._most_tokens(beside, cap_tokens, context_tokens, spent)
        if limit < rest_tokens and beside is not Beside.STREAMS:
            longer = self._most_tokens(beside, cap_tokens, context_tokens, spent, WHOLE_SHARE)
            limit = rest_tokens if longer >= rest_tokens else limit
        if spent.tokens:
            return limit if limit >= LEAST_CHUNK_TOKENS else 0
        self._asked_tokens = max(LEAST_CHUNK_TOKENS, limit)
        return self._asked_tokens

    def draft_tokens(self, *, cap_tokens: int, context_tokens: int) -> int:
        """The most that a draft model reads beside a stream: as if the model read it, which takes longer.

        Args:
            cap_tokens: most that memory allows in the step.
            context_tokens: what stands before the chunk.
        """
        return max(0, self._most_tokens(Beside.STREAMS, cap_tokens, context_tokens, NOTHING))

    def predicted_seconds(self, chunk_tokens: int, *, beside: Beside, context_tokens: int = 0) -> float:
        """What a step with this chunk is believed to take."""
        each_seconds = (self._token_seconds or 0.0) + self._slope * (context_tokens + chunk_tokens / 2)
        return self._expected_decode(beside) + chunk_tokens * each_seconds

    def reading_seconds(self, start: int, end: int) -> float:
        """What reading these positions of a prompt is believed to take; the unit is arbitrary at first."""
        base_seconds = 1.0 if self._token_seconds is None else self._token_seconds
        return (end - start) * (base_seconds + self._slope * (start + end) / 2)

    def observe(
        self, *, beside: Beside, chunk_tokens: int, seconds: float, context_tokens: int = 0, prompts: int = 1
    ) -> None:
        """Learn from a step that came back.

        Args:
            beside: who decoded in it.
            chunk_tokens: what it read; 0 means it had no chunk.
            seconds: what it took.
            context_tokens: what stood before its chunks, on average of their tokens.
            prompts: of how many prompts it read.
        """
        if chunk_tokens:
            if beside.decodes and self._decode_seconds is not None:
                # The step did both. A hiccup must not hold chunks down until a step decodes alone.
                self._decode_seconds = min(self._decode_seconds, seconds)
            self._observe_chunk(_Chunk(context_tokens, chunk_tokens, 0.0, prompts), seconds, beside)
        elif beside.decodes:
            before = seconds if self._decode_seconds is None else self._decode_seconds
            self._decode_seconds = before + (seconds - before) * _DECODE_WEIGHT

    def room_seconds(self, beside: Beside) -> float:
        """How long a step may work on a prompt beside what it decodes."""
        return max(0.0, self._allowed_seconds(beside) - self._expected_decode(beside))

    def _most_tokens(
        self, beside: Beside, cap_tokens: int, context_tokens: int, spent: Spent, longer: float = 0.0
    ) -> int:
        limit = min(self._max_chunk_tokens, self._tried_tokens, cap_tokens) - spent.tokens
        if self._token_seconds is not None:
            room_seconds = max(0.0, (1 + longer) * self.room_seconds(beside) - spent.seconds)
            limit = int(min(limit, self._affordable(room_seconds, context_tokens)))
        if limit >= ROUND_FROM_TOKENS:
            limit -= limit % CHUNK_MULTIPLE_TOKENS
        return limit

    def _affordable(self, room_seconds: float, context_tokens: int) -> float:
        """How many tokens `n` behind this context fit: `n * (base + slope * (context + n / 2)) = room`."""
        first_seconds = (self._token_seconds or _LEAST_TOKEN_SECONDS) + self._slope * context_tokens
        if not self._slope:
            return room_seconds / first_seconds
        # The root in the form that loses no digits where the slope is small.
        return 2 * room_seconds / (first_seconds + sqrt(first_seconds**2 + 2 * self._slope * room_seconds))

    def _observe_chunk(self, chunk: _Chunk, seconds: float, beside: Beside) -> None:
        """Slower than believed counts at once, faster by half.

        The tail of a prompt is left out: a step has costs that do not depend on the chunk, and a chunk
        of three tokens would make them look like the price of each token.
        """
        is_tail = 2 * chunk.size < self._asked_tokens
        if is_tail and seconds <= self._allowed_seconds(beside):
            return
        self._tried_tokens = max(self._tried_tokens, 2 * chunk.size)
        cost_seconds = seconds - self._expected_decode(beside)
        each_seconds = max(_LEAST_TOKEN_SECONDS, cost_seconds / chunk.size)
        self._observe_slope(replace(chunk, token_seconds=each_seconds))
        latest = max(_LEAST_TOKEN_SECONDS, each_seconds - self._slope * chunk.middle)
        if self._token_seconds is None or latest > self._token_seconds:
            self._token_seconds = latest
        else:
            self._token_seconds += (latest - self._token_seconds) * _PREFILL_WEIGHT

    def _observe_slope(self, chunk: _Chunk) -> None:
        """Compare a chunk with the one that ended where it starts."""
        before, self._last = self._last, chunk
        is_next = before.size > 0 and before.context + before.size == chunk.context
        if not is_next or before.prompts + chunk.prompts > 2:
            return
        rise = (chunk.token_seconds - before.token_seconds) / (chunk.middle - before.middle)
        latest = min(max(rise, 0.0), chunk.token_seconds / chunk.middle)
        self._slope += (latest - self._slope) * _SLOPE_WEIGHT

    def _expected_decode(self, beside: Beside) -> float:
        return (self._decode_seconds or 0.0) if beside.decodes else 0.0

    def _allowed_seconds(self, beside: Beside) -> float:
        if beside is not Beside.STREAMS:
            return max(self._target_seconds, ALONE_SECONDS)
        return max(self._target_seconds, min(SLOW_STEPS * self._expected_decode(beside), ALONE_SECONDS))
