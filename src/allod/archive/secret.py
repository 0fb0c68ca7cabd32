"""The secret that names of blocks are made with: one for each home."""

import os
import secrets
from pathlib import Path

_BYTES = 32


def home_secret(file: Path) -> bytes:
    """The secret in a file, which is made for its owner's eyes where there is none.

    Raises:
        OSError: it can neither be read nor made.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        found = file.read_bytes()
        if len(found) != _BYTES:
            raise OSError(f"{file} is damaged; remove it, and prefixes are kept on disk anew") from None
        return found
    made = secrets.token_bytes(_BYTES)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(made)
    return made
