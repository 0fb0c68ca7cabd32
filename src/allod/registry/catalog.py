"""The models that are here. A name is a key: it reaches the file system in one function only."""

import difflib
import errno
import re
import secrets
import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from allod.core.alias import Alias
from allod.core.card import CARD_VERSION, ModelCard
from allod.core.errors import ImportRefused, ModelNotFound
from allod.registry.aliases import AliasFile

CARD_FILE = "card.json"
DOWNLOADS = ".downloads"
ALIASES = ".aliases.json"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,95}")
_STAGING = ".staging-"
_TRASH = ".trash-"
_ABANDONED_SECONDS = 24 * 3600
_KNOWN_SHOWN = 20
_Stamp = tuple[int, int, int]


def is_model_name(name: str) -> bool:
    """Lower case letters, digits, `.`, `-`, `_`; 1 to 96 characters; starts alphanumeric; no `..`."""
    return _NAME.fullmatch(name) is not None and ".." not in name


def model_name_from(text: str) -> str:
    """The nearest legal name to any text, such as the name of a file.

    Raises:
        ImportRefused: nothing legal is left of it.
    """
    name = re.sub(r"[^a-z0-9._-]+", "-", text.lower())
    name = re.sub(r"\.{2,}", ".", name).lstrip("._-")[:96].rstrip("._-")
    if not is_model_name(name):
        raise ImportRefused(f"no model name can be made from {text[:96]!r}; give one with `--name`")
    return name


class Catalog:
    """Folders under one root, each holding a model and its `card.json`.

    A card is read again when its file has changed, and every question looks whether it has: a model that
    another process imports, changes or removes is seen at once. Folders whose name starts with a dot are work
    in progress and never models.

    Attributes:
        aliases: other names for them.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read_before: dict[str, tuple[_Stamp, ModelCard]] = {}
        self.aliases = AliasFile(root / ALIASES)

    @property
    def root(self) -> Path:
        """The folder that holds the models."""
        return self._root

    @property
    def downloads(self) -> Path:
        """Where unfinished downloads wait for the next try."""
        return self._root / DOWNLOADS

    def cards(self) -> tuple[ModelCard, ...]:
        """Every readable card, sorted by name. A damaged entry is left out: the server lives on."""
        if not self._root.is_dir():
            return ()
        names = sorted(entry.name for entry in self._root.iterdir() if is_model_name(entry.name))
        return tuple(card for card in map(self._read, names) if card is not None)

    def named(self, name: str) -> ModelCard:
        """The card under this key, or of the model that this alias stands for; keys come first.

        Raises:
            ModelNotFound: there is none; the message lists near and known names.
        """
        if is_model_name(name) and (card := self._read(name)) is not None:
            return card
        alias = self.aliases.find(name)
        return self.card(alias.model if alias else name)

    def alias(self, name: str) -> Alias | None:
        """The alias that a name is, unless it is a model's own."""
        return None if is_model_name(name) and self.holds(name) else self.aliases.find(name)

    def other_names(self) -> Sequence[Alias]:
        """Every alias."""
        return self.aliases.all()

    def card(self, name: str) -> ModelCard:
        """The card under exactly this key.

        Raises:
            ModelNotFound: there is none; the message lists near and known names.
        """
        card = self._read(name) if is_model_name(name) else None
        if card is None:
            raise self._unknown(name)
        return card

    def folder(self, card: ModelCard) -> Path:
        """Where the model's files are."""
        return self._path(card.name)

    def draft_folder(self, card: ModelCard) -> Path | None:
        """Where the files of the model are, or were, that drafts for another; None where none does."""
        return None if card.draft is None else self._path(card.draft)

    def holds(self, name: str) -> bool:
        """True when the name is taken, if only by a damaged entry."""
        return self._path(name).exists()

    def remove(self, name: str) -> None:
        """Delete a model, damaged or not. It leaves the catalogue in one step, before its bytes go.

        Raises:
            ModelNotFound: there is none of this name.
        """
        if not is_model_name(name) or not self.holds(name):
            raise self._unknown(name)
        trash = self._root / f"{_TRASH}{secrets.token_hex(8)}"
        self._path(name).rename(trash)
        shutil.rmtree(trash)

    @contextmanager
    def staging(self) -> Generator[Path]:
        """A folder to build a model in. Whatever is left of it at the end is deleted, whatever happened."""
        self._root.mkdir(parents=True, exist_ok=True)
        self._sweep()
        folder = self._root / f"{_STAGING}{secrets.token_hex(8)}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def adopt(self, staged: Path, card: ModelCard) -> None:
        """Write the card and make a staged folder a model, in one step.

        Raises:
            ImportRefused: the name is taken.
        """
        (staged / CARD_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(card)))
        self.require_free(card.name)
        try:
            staged.rename(self._path(card.name))
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                raise _taken(card.name) from error
            raise

    def change(self, card: ModelCard) -> None:
        """Replace the card of a model that is here, in one step.

        Raises:
            ModelNotFound: it is not here.
        """
        path = self.folder(self.card(card.name)) / CARD_FILE
        fresh = path.with_name(f"{CARD_FILE}.{secrets.token_hex(4)}")
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(card)))
        fresh.replace(path)

    def require_free(self, name: str) -> None:
        """Refuse a name that is illegal or taken.

        Raises:
            ImportRefused: with the way out.
        """
        if not is_model_name(name):
            raise ImportRefused(
                f"{name[:96]!r} cannot be a model name: use 1 to 96 lower case letters, digits, `.`, `-` or "
                f"`_`, starting with a letter or digit, without `..`"
            )
        if self.holds(name):
            raise _taken(name)

    def _path(self, name: str) -> Path:
        """The only place where a name becomes a path."""
        path = self._root / name
        if is_model_name(name) and (not path.is_symlink() or path.resolve().parent == self._root.resolve()):
            return path
        raise ModelNotFound(f"{name[:96]!r} is not a model name")

    def _read(self, name: str) -> ModelCard | None:
        try:
            path = self._path(name) / CARD_FILE
            stamp = _stamp(path)
            before = self._read_before.get(name)
            if before is not None and before[0] == stamp:
                return before[1]
            card = msgspec.json.decode(path.read_bytes(), type=ModelCard)
        except (OSError, ModelNotFound, msgspec.MsgspecError):
            self._read_before.pop(name, None)
            return None
        if card.name != name or card.version != CARD_VERSION:
            return None
        self._read_before[name] = stamp, card
        return card

    def _unknown(self, name: str) -> ModelNotFound:
        known = [str(card.name) for card in self.cards()]
        near = difflib.get_close_matches(name[:96].lower(), known)
        said = [f"there is no model {name[:96]!r} here"]
        if near:
            said.append(f"near names: {', '.join(near)}")
        if known:
            more = f" and {len(known) - _KNOWN_SHOWN} more" if len(known) > _KNOWN_SHOWN else ""
            said.append(f"known: {', '.join(known[:_KNOWN_SHOWN])}{more}")
        said.append("add one with `allod pull` or `allod import`")
        return ModelNotFound("; ".join(said), param="model")

    def _sweep(self) -> None:
        """Delete what a killed process left behind, once it is surely nobody's work any more."""
        now_seconds = time.time()
        for entry in self._root.iterdir():
            abandoned = (
                entry.name.startswith(_STAGING) and _age_seconds(entry, now_seconds) > _ABANDONED_SECONDS
            )
            if abandoned or entry.name.startswith(_TRASH):
                shutil.rmtree(entry, ignore_errors=True)


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _age_seconds(entry: Path, now_seconds: float) -> float:
    try:
        return now_seconds - entry.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _taken(name: str) -> ImportRefused:
    return ImportRefused(
        f"a model named {name!r} is already here; remove it with `allod rm {name}`, "
        f"or choose another name with `--name`"
    )
