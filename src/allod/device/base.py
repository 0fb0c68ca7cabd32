"""What the house asks of a platform. One file per platform answers it."""

from dataclasses import dataclass
from typing import Protocol

GIB = 2**30


class Platform(Protocol):
    """One kind of machine."""

    @property
    def description(self) -> str:
        """The device, in words."""
        ...

    @property
    def widened_dtype(self) -> str | None:
        """Name of the dtype that all floating-point weights are brought into; None leaves them as stored."""
        ...

    @property
    def tries_ways(self) -> bool:
        """Whether there is more than one way to multiply rows by weights among which it pays to choose."""
        ...

    @property
    def prepares_shapes(self) -> bool:
        """Whether the first use of each shape costs so much that shapes are kept few and used at load."""
        ...

    @property
    def runs_row_kernel(self) -> bool:
        """Whether rows that decode together attend by a kernel of ours, since MLX has none for them here."""
        ...

    @property
    def row_length_factor(self) -> int:
        """By which factor prompts of rows may differ in length to be padded to one another.

        A larger one makes fewer groups, each of which attends by itself; a smaller one pads less.
        """
        ...

    @property
    def computes_beside(self) -> bool:
        """Whether the device computes while this process builds the next graph, and should begin early."""
        ...

    @property
    def exponentials_are_slow(self) -> bool:
        """Whether MLX computes exponentials number by number here, so that other ways are faster."""
        ...

    @property
    def composes_norms(self) -> bool:
        """Whether MLX composes norms and rotations of many operations here, so that fewer are faster."""
        ...

    @property
    def fuses_attention(self) -> bool:
        """Whether prefill attention runs without storing the score matrix."""
        ...

    @property
    def attention_strip_bytes(self) -> int:
        """Most bytes of scores that a vision tower's attention computes at a time.

        Small strips bound memory and make short pieces of work; large ones launch fewer kernels.
        """
        ...

    def memory_bytes(self) -> int:
        """The memory that weights and KV state live in."""
        ...

    def default_budget_bytes(self) -> int:
        """What workers may hold of it when the owner names no budget."""
        ...


@dataclass(frozen=True, slots=True)
class Examination:
    """A machine as the workers find it.

    Attributes:
        device: what computes, in words.
        memory_bytes: where weights and state live.
        budget_bytes: what one worker may hold of it.
        is_cpu: whether a BLAS and a compiler matter.
        compiler: path of the C++ compiler; None where there is none.
    """

    device: str
    memory_bytes: int
    budget_bytes: int
    is_cpu: bool
    compiler: str | None


def beside_the_system(memory_bytes: int) -> int:
    """What remains of memory that is shared with the system.

    max(8 GiB, 10%) stays with the system; a small machine still gives half.
    """
    return max(memory_bytes - max(8 * GIB, memory_bytes // 10), memory_bytes // 2)


def budget_bytes(platform: Platform, wanted_bytes: int, workers: int) -> int:
    """The byte budget of one worker.

    Args:
        platform: the machine.
        wanted_bytes: what the owner gives to all workers together; 0 leaves it to the platform.
        workers: how many may be there at once; each gets the same share.

    Raises:
        ValueError: more was asked for than there is.
    """
    memory_bytes = platform.memory_bytes()
    if wanted_bytes > memory_bytes:
        raise ValueError(
            f"device.memory_budget_bytes is {wanted_bytes}, and the machine has {memory_bytes} bytes"
        )
    return (wanted_bytes or platform.default_budget_bytes()) // workers
