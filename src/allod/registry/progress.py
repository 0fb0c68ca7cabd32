"""How far an import or a download is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Progress:
    """One report of a long operation.

    Attributes:
        stage: what is going on, in words, such as `converting` or `downloading model.safetensors`.
        done: units finished.
        total: units in all; None where it is not known.
        unit: what is counted.
    """

    stage: str
    done: int
    total: int | None
    unit: Literal["bytes", "tensors"]


ProgressCallback = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """For callers that show nothing."""
