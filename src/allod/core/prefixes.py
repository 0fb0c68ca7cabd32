"""How much of a prompt need not be read again, and why it is not more."""

from typing import Literal

import msgspec

PrefixEnd = Literal["complete", "new", "differs", "forgotten", "no_state"]
"""Why what is reused of a prompt ends where it does.

`complete`: nothing more can be reused. `new`: what is kept ends there. `differs`: what is kept goes on with
other tokens. `forgotten`: what follows was kept and made room for others. `no_state`: what is kept agrees
further, but the model cannot go on from there: some of its layers know one position only, and a picture is
read whole.
"""


class PrefixMatch(msgspec.Struct, frozen=True):
    """A prompt held against what is kept, when it arrives.

    Attributes:
        cached_tokens: how many of its first tokens need not be read again.
        agreed_tokens: index of the first token that differs from what is kept; at least `cached_tokens`.
        end: why it is not more.
        disk_tokens: how many tokens behind the cached ones can be taken from disk.
    """

    cached_tokens: int
    agreed_tokens: int
    end: PrefixEnd
    disk_tokens: int = 0
