"""Texts to rows of tokens, for models that read and do not write."""

from collections.abc import Sequence

from tokenizers import Tokenizer

from allod.core.errors import ImportRefused
from allod.core.ids import TokenId


class RowCodec:
    """A `tokenizer.json` without the truncation and the padding that it may ask for.

    Raises:
        ImportRefused: the file cannot be read.
    """

    def __init__(self, path: str) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(path)
        except Exception as error:  # the library raises bare Exception for every fault
            raise ImportRefused(f"{path} is not a tokenizer file: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, texts: Sequence[str]) -> list[tuple[TokenId, ...]]:
        """One row per text, with the special tokens that the tokenizer adds by itself."""
        return [tuple(row.ids) for row in self._tokenizer.encode_batch(list(texts))]
