import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from allod.core.errors import ImportRefused
from allod.text.tokenizer import FileTokenCodec

REPLACE = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
FALLBACK, FUSE = {"type": "ByteFallback"}, {"type": "Fuse"}
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}


def added(index: int, content: str, *, special: bool) -> dict[str, object]:
    flags = ("single_word", "lstrip", "rstrip", "normalized")
    return {"id": index, "content": content, "special": special, **dict.fromkeys(flags, False)}


def tokenizer_json(vocabulary: list[str], decoder: object, added_tokens: list[dict[str, object]]) -> str:
    """A tokenizer file without merges."""
    ids = {token: index for index, token in enumerate(vocabulary)}
    model = {"type": "BPE", "vocab": ids, "merges": [], "byte_fallback": True}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
            "padding": None,
            "added_tokens": added_tokens,
            "normalizer": None,
            "pre_tokenizer": None,
            "post_processor": None,
            "decoder": decoder,
            "model": model,
        }
    )


def codec(vocabulary: list[str], decoder: object, *added_tokens: dict[str, object]) -> FileTokenCodec:
    return FileTokenCodec(Tokenizer.from_str(tokenizer_json(vocabulary, decoder, list(added_tokens))))


def sequence(*steps: object) -> dict[str, object]:
    return {"type": "Sequence", "decoders": list(steps)}


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


def test_byte_level_tokens_are_spelled_in_the_byte_alphabet() -> None:
    """`Ġ` is a space, `Ċ` a newline, `ðŁ` the first half of an emoji."""
    it = codec(["Ġhi", "Ċ", "ðŁ", "ĺĢ"], BYTE_LEVEL)
    assert [it.token_bytes(token) for token in range(4)] == [b" hi", b"\n", b"\xf0\x9f", b"\x98\x80"]
    assert it.decode([0, 1, 2, 3]) == " hi\n😀"
    assert it.decode([2]) == "\N{REPLACEMENT CHARACTER}"


def test_sentencepiece_tokens_are_spelled_with_marks_and_byte_names() -> None:
    """`▁` is a space, `<0x0A>` a byte; anything else is itself."""
    it = codec(["▁hi", "<0x0A>", "<0xE6>", "日"], sequence(REPLACE, FALLBACK, FUSE, STRIP))
    assert [it.token_bytes(token) for token in range(4)] == [b" hi", b"\n", b"\xe6", "日".encode()]
    assert it.decode([0, 1, 0, 3]) == "hi\n hi日"


def test_a_byte_name_is_text_where_the_file_has_no_byte_fallback() -> None:
    """Without the decoder step, `<0x0A>` is six characters."""
    it = codec(["<0x0A>", "▁a"], {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"})
    assert it.token_bytes(0) == b"<0x0A>"
    assert it.decode([1, 1]) == "a a"


@pytest.mark.parametrize(
    ("decoder", "shown"),
    [
        (sequence(REPLACE, FALLBACK, FUSE), " a"),
        (sequence(REPLACE, FALLBACK, FUSE, STRIP), "a"),
        ({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"}, " a"),
        ({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"}, "a"),
    ],
)
def test_the_first_space_is_shown_as_the_file_says(decoder: object, shown: str) -> None:
    """Whole decodes keep or drop a text's first space as the library does."""
    text = tokenizer_json(["▁a"], decoder, [])
    assert FileTokenCodec(Tokenizer.from_str(text)).decode([0]) == shown
    assert Tokenizer.from_str(text).decode([0]) == shown


def test_added_tokens_are_their_text_and_special_ones_are_not_shown() -> None:
    """`é` in an added token is two bytes, not the byte 0xE9 that the alphabet would make of it."""
    it = codec(["a"], BYTE_LEVEL, added(1, "<|im_end|>", special=True), added(2, "<é>", special=False))
    assert it.token_bytes(1) == b"<|im_end|>"
    assert it.token_bytes(2) == "<é>".encode()
    assert it.decode([0, 1, 2]) == "a<é>"
    assert it.encode("a<|im_end|>", special=False) == (0, 1)


def test_characters_are_found_in_their_tokens() -> None:
    """By their index in the text, whatever the tokens are in bytes."""
    it = codec(["ðŁ", "ĺĢ", "a"], BYTE_LEVEL, added(3, "<|im_end|>", special=True))
    assert it.located("a<|im_end|>a", [0, 1, 5, 11, 12]) == ((2, 3, 2), (0, 1, 1, 2, None))
    assert it.located("", []) == ((), ())


def test_ids_without_a_token_are_empty() -> None:
    """Models pad their vocabulary; such an id has no bytes and no text."""
    text = tokenizer_json(["a", "x"], BYTE_LEVEL, []).replace('"x": 1', '"x": 5')
    it = FileTokenCodec(Tokenizer.from_str(text))
    assert it.vocabulary_size == 6
    assert [it.token_bytes(token) for token in (3, 6, 10**12, -1)] == [b""] * 4
    assert it.decode([0, 3, 99, 0]) == "aa"


def test_truncation_in_the_file_is_not_obeyed() -> None:
    """A file made for training may cut at a length; prompts must arrive whole."""
    assert len(codec(["a"], BYTE_LEVEL).encode("aaaa", special=True)) == 4


@pytest.mark.parametrize("decoder", [None, {"type": "BPEDecoder", "suffix": "</w>"}, sequence(FUSE)])
def test_a_decoder_of_another_kind_is_refused(decoder: object) -> None:
    """What cannot be decoded exactly is refused at import, not guessed."""
    with pytest.raises(ImportRefused, match="decoder"):
        codec(["a"], decoder)


def test_a_file_is_read_or_refused(tmp_path: Path) -> None:
    """A good file loads; a broken or missing one is refused by name."""
    file = tmp_path / "tokenizer.json"
    file.write_text(tokenizer_json(["a"], BYTE_LEVEL, []))
    assert FileTokenCodec.from_file(str(file)).encode("aa", special=False) == (0, 0)
    file.write_text("{")
    for path in (file, tmp_path / "nothing.json"):
        with pytest.raises(ImportRefused, match=path.name):
            FileTokenCodec.from_file(str(path))
