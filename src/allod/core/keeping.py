"""What callers ask us to keep."""

from dataclasses import dataclass
from typing import Literal

from allod.core.ids import TenantId

KeptKind = Literal["response", "file", "batch", "batch_line"]


@dataclass(frozen=True, slots=True)
class Kept:
    """One record.

    Attributes:
        kind: what it is.
        identifier: such as `resp_...`; unique within its kind.
        tenant: whose it is.
        created: seconds since the epoch.
        body: JSON of what is known of it.
        content: bytes that belong to it, such as a file's; empty for none.
        group: what it is a part of, such as the batch of a line; empty for nothing.
    """

    kind: KeptKind
    identifier: str
    tenant: TenantId
    created: int
    body: bytes
    content: bytes = b""
    group: str = ""
