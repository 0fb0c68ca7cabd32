"""What the house asks of a platform. One file per platform answers it."""

from dataclasses import dataclass
from typing import Protocol

GIB = 2**30


@dataclass(frozen=True, slots=True)
class ComputeForm:
    """How quantised weights compute when the owner leaves it to us.

    Attributes:
        dense: True unpacks quantised weights at load.
        dtype: name of the dtype floating-point weights are cast to; None leaves them as stored.
    """

    dense: bool
    dtype: str | None


class Platform(Protocol):
    """One kind of machine."""

    @property
    def description(self) -> str:
        """The device, in words."""
        ...

    @property
    def preferred_form(self) -> ComputeForm:
        """The compute form that is faster here, by measurement or by the vendor's design."""
        ...

    @property
    def fuses_attention(self) -> bool:
        """Whether prefill attention runs without storing the score matrix."""
        ...

    def memory_bytes(self) -> int:
        """The memory pool that weights and KV state live in."""
        ...


def budget_bytes(pool_bytes: int, wanted_bytes: int) -> int:
    """The byte budget of all workers together.

    Args:
        pool_bytes: the machine's memory pool.
        wanted_bytes: what the owner asked for; 0 leaves max(8 GiB, 10%) of the pool to the system, but
            never less than half of the pool to us.

    Raises:
        ValueError: more was asked for than there is.
    """
    if wanted_bytes > pool_bytes:
        raise ValueError(f"{wanted_bytes} bytes were asked for, and the machine has {pool_bytes}")
    if wanted_bytes:
        return wanted_bytes
    return max(pool_bytes - max(8 * GIB, pool_bytes // 10), pool_bytes // 2)
