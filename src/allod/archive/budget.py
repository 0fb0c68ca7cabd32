"""How much was written today, kept in a file so that a restart does not begin the day anew."""

from pathlib import Path

import msgspec

_DAY_SECONDS = 86_400


class _Written(msgspec.Struct):
    day: int = 0
    size_bytes: int = 0


class DailyBudget:
    """Bytes that may still be written on a day, which begins at midnight UTC.

    Args:
        file: where the count is kept; a damaged one is as none.
        limit_bytes: most bytes of a day.
    """

    def __init__(self, file: Path, limit_bytes: int) -> None:
        self._file = file
        self._limit_bytes = limit_bytes
        try:
            self._written = msgspec.json.decode(file.read_bytes(), type=_Written)
        except (OSError, msgspec.MsgspecError):
            self._written = _Written()

    def allows(self, size_bytes: int, now_seconds: float) -> bool:
        """Whether so much more may be written."""
        self._turn(now_seconds)
        return self._written.size_bytes + size_bytes <= self._limit_bytes

    def spend(self, size_bytes: int, now_seconds: float) -> None:
        """Count what is about to be written: a kill in between must not leave it uncounted.

        Raises:
            OSError: the count cannot be kept.
        """
        self._turn(now_seconds)
        self._written.size_bytes += size_bytes
        partial = self._file.with_suffix(".partial")
        partial.touch(mode=0o600)
        partial.write_bytes(msgspec.json.encode(self._written))
        partial.replace(self._file)

    def _turn(self, now_seconds: float) -> None:
        day = int(now_seconds // _DAY_SECONDS)
        if day != self._written.day:
            self._written = _Written(day)
