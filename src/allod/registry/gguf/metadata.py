"""The key-value pairs of a GGUF file, asked for by type."""

from collections.abc import Mapping
from typing import TypeVar

from allod.core.errors import ImportRefused
from allod.registry.gguf.cursor import Scalar

Kind = TypeVar("Kind", bound=Scalar)


class Metadata:
    """Typed access; a wrong type or a missing key is a refusal that names the key."""

    def __init__(self, values: Mapping[str, Scalar | list[Scalar]], file_name: str) -> None:
        self._values = values
        self._file_name = file_name

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str) -> str:
        """The string under a key that has to be there."""
        return self._typed(key, self._needed(key), str)

    def text_or(self, key: str, default: str) -> str:
        """The string under a key."""
        return self.text(key) if key in self else default

    def integer(self, key: str) -> int:
        """The whole number under a key that has to be there."""
        value = self._needed(key)
        if isinstance(value, bool):
            raise self.refusal(key, "is a truth value where a whole number is needed")
        return self._typed(key, value, int)

    def integer_or(self, key: str, default: int) -> int:
        """The whole number under a key."""
        return self.integer(key) if key in self else default

    def positive(self, key: str) -> int:
        """The whole number from 1 up under a key that has to be there."""
        value = self.integer(key)
        if value < 1:
            raise self.refusal(key, f"is {value}, and has to be at least 1")
        return value

    def number(self, key: str) -> float:
        """The number under a key that has to be there."""
        value = self._needed(key)
        if isinstance(value, bool | str | list):
            raise self.refusal(key, f"is a {type(value).__name__} where a number is needed")
        return float(value)

    def number_or(self, key: str, default: float) -> float:
        """The number under a key."""
        return self.number(key) if key in self else default

    def flag_or(self, key: str, *, default: bool) -> bool:
        """The truth value under a key."""
        return self._typed(key, self._needed(key), bool) if key in self else default

    def texts(self, key: str) -> list[str]:
        """The list of strings under a key that has to be there."""
        return [self._typed(key, item, str) for item in self._list(key)]

    def integers(self, key: str) -> list[int]:
        """The list of whole numbers under a key that has to be there."""
        return [self._typed(key, item, int) for item in self._list(key)]

    def refusal(self, key: str, problem: str) -> ImportRefused:
        """An error about one key."""
        return ImportRefused(f"{self._file_name} cannot be imported: `{key}` {problem}")

    def _needed(self, key: str) -> Scalar | list[Scalar]:
        if key not in self._values:
            raise self.refusal(key, "is not in the file; convert the model again with a current llama.cpp")
        return self._values[key]

    def _list(self, key: str) -> list[Scalar]:
        value = self._needed(key)
        if not isinstance(value, list):
            raise self.refusal(key, f"is a {type(value).__name__} where a list is needed")
        return value

    def _typed(self, key: str, value: Scalar | list[Scalar], kind: type[Kind]) -> Kind:
        if not isinstance(value, kind):
            raise self.refusal(key, f"is a {type(value).__name__} where a {kind.__name__} is needed")
        return value
