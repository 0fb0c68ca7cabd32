"""How large the next prefill chunk may be, so that streams keep flowing beside it.

A step that decodes and prefills takes about `decode + chunk * cost`. Both are learned from the steps
that come back. Attribution between the two need not be exact: a decode cost that is believed too low
shows up in the cost per token, and the chunk settles where the sum meets the target all the same.
"""

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
"""Share of the allowed stall that is aimed at; the rest absorbs cost that rises with the context."""

ALONE_SECONDS = 1.0
"""Longest chunk when nobody decodes: a cancel or a newcomer waits for the end of the chunk."""

_DECODE_WEIGHT = 0.25
_PREFILL_WEIGHT = 0.5
_LEAST_TOKEN_SECONDS = 1e-9


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
        self._tried_tokens = FIRST_CHUNK_TOKENS
        self._asked_tokens = FIRST_CHUNK_TOKENS

    def chunk_tokens(self, *, decodes: bool, cap_tokens: int) -> int:
        """The most tokens of the next chunk: at least 16, and a multiple of 16 once that is a small part.

        Args:
            decodes: whether rows decode in the same step.
            cap_tokens: most that memory allows.
        """
        limit = min(self._max_chunk_tokens, self._tried_tokens, cap_tokens)
        if self._token_seconds is not None:
            limit = int(min(limit, self.room_seconds(decodes=decodes) / self._token_seconds))
        if limit >= ROUND_FROM_TOKENS:
            limit -= limit % CHUNK_MULTIPLE_TOKENS
        self._asked_tokens = max(LEAST_CHUNK_TOKENS, limit)
        return self._asked_tokens

    def predicted_seconds(self, chunk_tokens: int, *, decodes: bool) -> float:
        """What a step with this chunk is believed to take."""
        return self._expected_decode(decodes=decodes) + chunk_tokens * (self._token_seconds or 0.0)

    def observe(self, *, decodes: bool, chunk_tokens: int, seconds: float) -> None:
        """Learn from a step that came back; `chunk_tokens` 0 means it had no chunk."""
        if chunk_tokens:
            if decodes and self._decode_seconds is not None:
                # The step did both. A hiccup must not hold chunks down until a step decodes alone.
                self._decode_seconds = min(self._decode_seconds, seconds)
            self._observe_chunk(chunk_tokens, seconds, decodes=decodes)
        elif decodes:
            before = seconds if self._decode_seconds is None else self._decode_seconds
            self._decode_seconds = before + (seconds - before) * _DECODE_WEIGHT

    def room_seconds(self, *, decodes: bool) -> float:
        """How long a step may work on a prompt beside what it decodes."""
        return max(0.0, self._allowed_seconds(decodes=decodes) - self._expected_decode(decodes=decodes))

    def beyond_decode(self, seconds: float, *, decodes: bool) -> float:
        """What of a step's time is not that of the tokens it decoded."""
        return max(_LEAST_TOKEN_SECONDS, seconds - self._expected_decode(decodes=decodes))

    def _observe_chunk(self, chunk_tokens: int, seconds: float, *, decodes: bool) -> None:
        """Slower than believed counts at once, faster by half.

        The tail of a prompt is left out: a step has costs that do not depend on the chunk, and a chunk
        of three tokens would make them look like the price of each token.
        """
        is_tail = 2 * chunk_tokens < self._asked_tokens
        if is_tail and seconds <= self._allowed_seconds(decodes=decodes):
            return
        self._tried_tokens = max(self._tried_tokens, 2 * chunk_tokens)
        cost_seconds = seconds - self._expected_decode(decodes=decodes)
        latest = max(_LEAST_TOKEN_SECONDS, cost_seconds / chunk_tokens)
        if self._token_seconds is None or latest > self._token_seconds:
            self._token_seconds = latest
        else:
            self._token_seconds += (latest - self._token_seconds) * _PREFILL_WEIGHT

    def _expected_decode(self, *, decodes: bool) -> float:
        return (self._decode_seconds or 0.0) if decodes else 0.0

    def _allowed_seconds(self, *, decodes: bool) -> float:
        return self._target_seconds if decodes else ALONE_SECONDS


class PiecePacer:
    """Learns what pieces of looking at a picture cost, and says how many fit into a step.

    The cost of a piece is taken to grow with the picture. Where attention makes it grow faster, the first
    step of a picture larger than all before does one piece only, and what that took counts from then on.

    Args:
        steps: knows what a step may take and what decoding takes of it.
    """

    def __init__(self, steps: PrefillPacer) -> None:
        self._steps = steps
        self._piece_seconds_per_byte: float | None = None
        self._largest_bytes = 0

    def pieces(self, tensor_bytes: int, *, decodes: bool) -> int:
        """How many pieces of a picture of this size to do in a step; at least one.

        Args:
            tensor_bytes: size of the picture's tensors.
            decodes: whether rows decode in the same step.
        """
        if self._piece_seconds_per_byte is None or not 0 < tensor_bytes <= self._largest_bytes:
            return 1
        piece_seconds = self._piece_seconds_per_byte * tensor_bytes
        return max(1, int(self._steps.room_seconds(decodes=decodes) / piece_seconds))

    def observe(self, tensor_bytes: int, pieces: int, seconds: float, *, decodes: bool) -> None:
        """Learn from a step that did some pieces. Slower than believed counts at once, faster by half."""
        if not pieces or not tensor_bytes:
            return
        self._largest_bytes = max(self._largest_bytes, tensor_bytes)
        latest = self._steps.beyond_decode(seconds, decodes=decodes) / pieces / tensor_bytes
        before = self._piece_seconds_per_byte
        if before is None or latest > before:
            self._piece_seconds_per_byte = latest
        else:
            self._piece_seconds_per_byte = before + (latest - before) * _PREFILL_WEIGHT
