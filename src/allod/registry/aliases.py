"""Other names for models, kept in one small file."""

import re
import secrets
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from allod.core.alias import Alias
from allod.core.errors import ConfigurationError, ImportRefused, ModelNotFound

_NAME = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._:/@+*-]{0,127}")


class AliasFile:
    """Names that stand for models. Nothing is cached: a change by another process is seen at once.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> Sequence[Alias]:
        """Every alias, in the order they were added.

        Raises:
            ConfigurationError: the file is damaged.
        """
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=tuple[Alias, ...])
        except FileNotFoundError:
            return ()
        except msgspec.MsgspecError as error:
            raise ConfigurationError(
                f"{self._path} is damaged ({error}); mend it, or delete it and add the aliases again"
            ) from error

    def find(self, name: str) -> Alias | None:
        """The alias a name matches: the same name first, then the first pattern; case counts."""
        known = self.all()
        exact = next((alias for alias in known if alias.name == name), None)
        return exact or next((alias for alias in known if fnmatchcase(name, _quoted(alias.name))), None)

    def put(self, alias: Alias) -> None:
        """Add an alias, or change the one of the same name.

        Raises:
            ImportRefused: the name cannot be an alias.
        """
        if not _NAME.fullmatch(alias.name) or ".." in alias.name:
            raise ImportRefused(
                f"{alias.name[:128]!r} cannot be an alias: use 1 to 128 letters, digits or . _ : / @ + - and "
                "* for any characters, starting with a letter, a digit or *"
            )
        others = [known for known in self.all() if known.name != alias.name]
        self._write((*others, alias))

    def remove(self, name: str) -> None:
        """Forget an alias.

        Raises:
            ModelNotFound: there is none of this name.
        """
        known = self.all()
        left = tuple(alias for alias in known if alias.name != name)
        if len(left) == len(known):
            raise ModelNotFound(f"there is no alias {name[:128]!r}; `allod alias` lists them")
        self._write(left)

    def _write(self, aliases: Sequence[Alias]) -> None:
        """Replace the file in one step."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}")
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(aliases)))
        fresh.replace(self._path)


def _quoted(name: str) -> str:
    """Only `*` is special in an alias."""
    return name.replace("[", "[[]").replace("?", "[?]")
