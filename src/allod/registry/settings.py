"""What the owner can set about where models come from."""

from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """Limits of the registry."""

    offline: Annotated[bool, Doc("True forbids every download; imports of local files still work.")] = False
