"""A checkpoint's tokenizer, read from its `tokenizer.json`."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from tokenizers import Encoding, Tokenizer

from allod.core.errors import ImportRefused
from allod.core.ids import TokenId
from allod.text.cuts import Cut, Encoded, Word
from allod.text.pieces import reads_words_alone
from allod.text.vocabulary import TokenizerFile, spelling_of

WORD_CHARACTERS = 512
"""From one word before which texts are cut to where the next is looked for: up to twice that is read anew."""

_SPACE_BETWEEN_WORDS = re.compile(r"(?<=[^\W_]) (?=[^\W_])")


class FileTokenCodec:
    """A `TokenCodec` over the `tokenizers` library.

    Encoding is the library's. Decoding is ours, from the bytes of each token, and differs from the
    library's in one place: where `<0xNN>` tokens do not form characters the library replaces every
    byte of the run, valid ones too, which no stream could know before the run ends. Here only what
    is not a character is replaced, by the rule that Unicode recommends for all decoders.

    Ids that the file does not know (models score more ids than their tokenizer has) are empty.

    Args:
        tokenizer: the library's.
        word_characters: how far apart at least the words are before which texts can be cut.
    """

    def __init__(self, tokenizer: Tokenizer, *, word_characters: int = WORD_CHARACTERS) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        try:
            file = msgspec.json.decode(tokenizer.to_str(), type=TokenizerFile)
        except msgspec.ValidationError as error:
            raise ImportRefused(f"tokenizer.json: {error}") from error
        spelling = spelling_of(file)
        self._tokenizer = tokenizer
        self._to_bytes = spelling.to_bytes
        self._drops_first_space = spelling.drops_first_space
        self._special = frozenset(token.id for token in file.added_tokens if token.special)
        self._parting = {token.id: token.content for token in file.added_tokens if token.parts_texts}
        self._word_characters = max(1, word_characters)
        self._reads_words_alone = reads_words_alone(file)
        self._is_cut: dict[TokenId, bool] = {}
        self._added = {token.content: token.id for token in file.added_tokens}
        self._bytes = {token.id: token.content.encode() for token in file.added_tokens}
        self._size = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)

    @classmethod
    def from_file(cls, path: str) -> "FileTokenCodec":
        """Read a `tokenizer.json`.

        Raises:
            ImportRefused: the file cannot be read or is of a kind the house does not decode.
        """
        try:
            tokenizer = Tokenizer.from_file(path)
        except Exception as error:  # the library raises bare Exception for every fault
            raise ImportRefused(f"{path} is not a tokenizer file: {error}") from error
        return cls(tokenizer)

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest id the tokenizer knows."""
        return self._size

    @property
    def added_tokens(self) -> Mapping[str, TokenId]:
        """The tokens beside the vocabulary proper, special ones among them, by their text."""
        return self._added

    @property
    def special_tokens(self) -> frozenset[TokenId]:
        """The tokens that are not text."""
        return self._special

    def encode(self, text: str, *, special: bool) -> tuple[TokenId, ...]:
        """Text to ids. `special` adds what the tokenizer adds by itself, such as a BOS token.

        Special tokens written out in the text become those tokens, as chat templates need it. The library's
        `encode` alone would stop all other threads while it works.
        """
        (encoding,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=special)
        return tuple(encoding.ids)

    def encoded(self, text: str) -> Encoded:
        """Text to ids, without added ones, and where it could be cut."""
        encoding = self._located(text)
        tokens = tuple(encoding.ids)
        cuts: list[Cut] = []
        for place, token in enumerate(tokens):
            if token not in self._parting or not self._cuts(token):
                continue
            span = encoding.token_to_chars(place)
            if span is not None and text[span[0] : span[1]] == self._parting[token]:
                cuts.append(Cut(place, *span))
        words = self._words(text, tokens, encoding) if self._reads_words_alone else ()
        return Encoded(tokens, tuple(cuts), tuple(words))

    def _words(self, text: str, tokens: Sequence[TokenId], encoding: Encoding) -> Iterator[Word]:
        """Words that begin a piece, in files that read these alone: see `allod.text.pieces`.

        A token that begins with the one space before a word is the word's first, whatever spaces the library
        leaves out of the spans it tells.
        """
        pieces = encoding.word_ids

        def end(place: int) -> int:
            span = encoding.token_to_chars(place)
            return span[1] if span else 0

        places, place, start = range(len(tokens)), 0, 0
        while found := _SPACE_BETWEEN_WORDS.search(text, start + self._word_characters):
            start = found.start()
            place = bisect_right(places, start, lo=place, key=end)
            if not 0 < place < len(tokens):
                continue
            whole = end(place - 1) == start and pieces[place - 1] != pieces[place]
            if whole and self.token_bytes(tokens[place]).startswith(b" "):
                yield Word(place, start)

    def _cuts(self, token: TokenId) -> bool:
        """Whether texts can be cut before a special token: none that begins earlier may go on beyond it.

        Asked of tokens that occur: some files have thousands that never do.
        """
        known = self._is_cut.get(token)
        if known is None:
            name = self._parting[token]
            known = self._is_cut[token] = sum(name in text for text in self._added) == 1
        return known

    def located(self, text: str, places: Sequence[int]) -> tuple[tuple[TokenId, ...], tuple[int | None, ...]]:
        """Text to ids, without added ones, and for each index of a character which of the ids it is in."""
        encoding = self._located(text)
        return tuple(encoding.ids), tuple(encoding.char_to_token(place) for place in places)

    def _located(self, text: str) -> Encoding:
        """The same ids with their places in the text, which cost a quarter more, without added ones."""
        (encoding,) = self._tokenizer.encode_batch([text], add_special_tokens=False)
        return encoding

    def decode(self, tokens: Sequence[TokenId]) -> str:
        """Ids to text, special tokens left out. What is not UTF-8 becomes U+FFFD."""
        data = b"".join(map(self.text_bytes, tokens))
        if self._drops_first_space:
            data = data.removeprefix(b" ")
        return data.decode(errors="replace")

    def token_bytes(self, token: TokenId) -> bytes:
        """The exact bytes of one token; a special token's are its name."""
        known = self._bytes.get(token)
        if known is None:
            name = self._tokenizer.id_to_token(token) if 0 <= token < self._size else None
            known = self._bytes[token] = b"" if name is None else self._to_bytes(name)
        return known

    def text_bytes(self, token: TokenId) -> bytes:
        """The bytes that a token adds to a text: its own, and none for a special token."""
        return b"" if token in self._special else self.token_bytes(token)
