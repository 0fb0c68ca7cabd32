from collections.abc import Sequence

from allod.text.detokenize import Detokenizer

SPECIAL = 256


class Bytes:
    """A codec whose tokens are bytes; 256 is special."""

    def encode(self, text: str, *, special: bool) -> tuple[int, ...]:
        return (*([SPECIAL] if special else []), *text.encode())

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(token for token in tokens if token != SPECIAL).decode(errors="replace")

    def token_bytes(self, token: int) -> bytes:
        return b"<s>" if token == SPECIAL else bytes([token])

    def text_bytes(self, token: int) -> bytes:
        return b"" if token == SPECIAL else bytes([token])


def test_a_character_is_shown_with_its_last_byte() -> None:
    """No half characters, no delay; a special token between the bytes of one changes nothing."""
    detokenizer = Detokenizer(Bytes())
    assert [detokenizer.feed([token]) for token in (0x61, 0xF0, 0x9F, SPECIAL, 0x98, 0x80)] == [
        "a", "", "", "", "", "😀",
    ]  # fmt: skip
    assert detokenizer.flush() == ""


def test_bytes_that_cannot_become_a_character_are_not_held() -> None:
    """The byte that breaks a character releases it at once."""
    detokenizer = Detokenizer(Bytes())
    assert detokenizer.feed([0xF0, 0x9F]) == ""
    assert detokenizer.feed([0x41]) == "\ufffdA"
    assert detokenizer.feed([0xFF] * 3) == "\ufffd" * 3


def test_a_cut_character_at_the_end_shows_as_one_replacement() -> None:
    """The flush says that something was there."""
    detokenizer = Detokenizer(Bytes())
    assert detokenizer.feed([0xE6, 0x97]) == ""
    assert detokenizer.flush() == "\ufffd"


def test_spaces_at_the_start_are_kept_where_the_codec_keeps_them() -> None:
    """Only a codec that drops the first space loses it."""
    assert Detokenizer(Bytes()).feed(list(b"  a")) == "  a"
