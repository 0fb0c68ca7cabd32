"""What the owner can set about batches."""

from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge, Le


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """How large batches may be, and how much of them runs at a time."""

    max_file_bytes: Annotated[int, Ge(1024), Le(900_000_000), Doc("Longest file that may be uploaded.")] = (
        200_000_000
    )
    max_lines: Annotated[int, Ge(1), Le(1_000_000), Doc("Most requests in one batch.")] = 50_000
    lines_in_flight: Annotated[
        int, Ge(1), Le(256), Doc("Requests of batches that are worked on at the same time.")
    ] = 8
