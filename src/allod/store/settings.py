"""What the owner can set about what is kept."""

from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge, Le


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How long and how much is kept."""

    retention_days: Annotated[
        int, Ge(1), Le(3650), Doc("Days after which kept responses, files and batches are deleted.")
    ] = 30
    max_bytes: Annotated[
        int, Ge(2**20), Doc("Most bytes of kept responses, files and batches; more are refused.")
    ] = 4 * 2**30

    @property
    def retention_seconds(self) -> int:
        """The same time in seconds."""
        return self.retention_days * 86_400
