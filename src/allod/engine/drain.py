"""How fast work gets done, to tell a client who finds the queue full when to come back."""

from math import ceil, exp

MEMORY_SECONDS = 30.0
"""A rate this old counts 1/e: long enough to bridge a long answer, short enough to follow the load."""

ASSUMED_TOKENS_PER_SECOND = 200.0
"""Used until the first answer is finished; about what a small machine reads and writes together."""

SHORTEST_SECONDS = 1
LONGEST_SECONDS = 300


class DrainRate:
    """Exponentially weighted tokens per second of finished work, prompt and completion together."""

    def __init__(self) -> None:
        self._tokens_per_second: float | None = None
        self._since_seconds: float | None = None
        self._pending_tokens = 0

    def start(self, now_seconds: float) -> None:
        """Work begins after idleness, which must not count as slowness."""
        self._since_seconds = now_seconds
        self._pending_tokens = 0

    def finish(self, tokens: int, now_seconds: float) -> None:
        """So many tokens are done."""
        self._pending_tokens += tokens
        if self._since_seconds is None or now_seconds <= self._since_seconds:
            return
        elapsed = now_seconds - self._since_seconds
        latest = self._pending_tokens / elapsed
        before = latest if self._tokens_per_second is None else self._tokens_per_second
        self._tokens_per_second = latest + (before - latest) * exp(-elapsed / MEMORY_SECONDS)
        self._since_seconds = now_seconds
        self._pending_tokens = 0

    def seconds_for(self, tokens: int) -> int:
        """When so many tokens will be done, in whole seconds between 1 and 300."""
        rate = self._tokens_per_second or ASSUMED_TOKENS_PER_SECOND
        return ceil(min(max(tokens / rate, SHORTEST_SECONDS), LONGEST_SECONDS))
