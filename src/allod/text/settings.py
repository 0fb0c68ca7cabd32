"""What the owner can set about prompts."""

from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """Which heads that change from turn to turn are kept from making every prompt new."""

    drop_billing_header: Annotated[
        bool, Doc("Leave out the x-anthropic-billing-header line that Claude Code puts first.")
    ] = True
    move_clock_last: Annotated[
        bool, Doc("Move a first system line that tells the time of day to the end of the system message.")
    ] = False
