"""Laws of tokens to text, on tokenizers trained here: byte-level BPE and Unigram with byte fallback."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from allod.text.detokenize import Detokenizer
from allod.text.tokenizer import FileTokenCodec

CORPUS = [
    "The quick brown fox jumps over the lazy dog.",
    "héllo wörld — naïve café, e\u0301 combining, नमस्ते दुनिया",
    "日本語のテキスト 中文字符 한국어",
    "😀 👩‍👩‍👧 🇩🇪 ok",
    "    indented\n\tcode = {'a': 1}",
]
SPECIAL = ["<s>", "</s>", "<|end|>"]


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=420, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer.add_tokens(["<tool>"])
    return tokenizer


def sentencepiece(*, strips: bool) -> Tokenizer:
    bytes_first = [("<unk>", 0.0), *((f"<0x{byte:02X}>", -20.0) for byte in range(256))]
    learned = Tokenizer(models.Unigram())
    learned.pre_tokenizer = pre_tokenizers.Metaspace()
    learned.train_from_iterator(
        CORPUS[:3], trainers.UnigramTrainer(vocab_size=200, unk_token="<unk>", show_progress=False)
    )
    pieces = [(piece, -5.0) for piece in learned.get_vocab() if piece != "<unk>"]
    tokenizer = Tokenizer(models.Unigram([*bytes_first, *pieces, ("▁▁", -9.0)], 0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first" if strips else "never")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strips else steps)
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


TOKENIZERS = {
    "byte-level": byte_level(),
    "sentencepiece, first space dropped": sentencepiece(strips=True),
    "sentencepiece, spaces kept": sentencepiece(strips=False),
}
CODECS = {name: FileTokenCodec(tokenizer) for name, tokenizer in TOKENIZERS.items()}
every_codec = pytest.mark.parametrize("name", CODECS)
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.sampled_from([*CORPUS, " ", "  ", "😀", "e\u0301", "日", "▁x"])).map("".join),
)


def cut(data: st.DataObject, items: list[int]) -> list[list[int]]:
    """The items in pieces, some of them empty."""
    at = sorted(data.draw(st.lists(st.integers(0, len(items)), max_size=8)))
    return [items[start:end] for start, end in zip([0, *at], [*at, len(items)], strict=True)]


def streamed(codec: FileTokenCodec, pieces: list[list[int]]) -> str:
    detokenizer = Detokenizer(codec)
    return "".join(map(detokenizer.feed, pieces)) + detokenizer.flush()


@every_codec
@given(data=st.data())
def test_any_ids_in_any_cut_stream_to_what_the_whole_decodes_to(name: str, data: st.DataObject) -> None:
    """Joined stream == whole decode, for any ids: invalid UTF-8, special tokens anywhere, unknown ids."""
    codec = CODECS[name]
    ids = data.draw(st.lists(st.integers(0, codec.vocabulary_size + 1), max_size=40))
    assert streamed(codec, cut(data, ids)) == codec.decode(ids)


@every_codec
@given(text=texts, begin=st.sampled_from(SPECIAL), special=st.booleans())
def test_ids_are_the_librarys(name: str, text: str, begin: str, special: bool) -> None:
    """However a text is encoded, it has the ids that the tokenizers library's plain `encode` gives it."""
    text = begin + text
    wanted = TOKENIZERS[name].encode(text, add_special_tokens=special).ids
    assert list(CODECS[name].encode(text, special=special)) == wanted


@every_codec
@given(data=st.data(), text=texts)
def test_text_survives_encoding_and_streaming(name: str, data: st.DataObject, text: str) -> None:
    """For ids that encode a text, the stream is what the tokenizers library decodes."""
    codec, ids = CODECS[name], list(CODECS[name].encode(text, special=False))
    assert streamed(codec, cut(data, ids)) == TOKENIZERS[name].decode(ids)


@given(data=st.data(), text=texts)
def test_byte_level_decoding_gives_the_text_back(data: st.DataObject, text: str) -> None:
    """A byte-level codec loses nothing: no text in, no special token, is changed by the round trip."""
    codec = CODECS["byte-level"]
    ids = list(codec.encode(text, special=False))
    assert streamed(codec, cut(data, ids)) == text
    assert b"".join(map(codec.token_bytes, ids)) == text.encode()


@given(ids=st.lists(st.integers(0, CODECS["byte-level"].vocabulary_size - 1), max_size=40))
def test_byte_level_decoding_is_the_librarys_even_for_invalid_bytes(ids: list[int]) -> None:
    """For byte-level files whole decodes agree with the library on every list of known ids."""
    assert CODECS["byte-level"].decode(ids) == TOKENIZERS["byte-level"].decode(ids)


@every_codec
@given(data=st.data())
def test_never_more_than_three_bytes_are_held(name: str, data: st.DataObject) -> None:
    """After every feed, what is not shown yet is less than one character: three bytes."""
    codec = CODECS[name]
    ids = data.draw(st.lists(st.integers(0, codec.vocabulary_size - 1), max_size=40))
    detokenizer, shown = Detokenizer(codec), ""
    for count, token in enumerate(ids, start=1):
        shown += detokenizer.feed([token])
        whole = codec.decode(ids[:count])
        assert whole.startswith(shown)
        assert whole.removeprefix(shown) in ("", "\ufffd", "\ufffd\ufffd", "\ufffd\ufffd\ufffd")


def test_of_two_first_spaces_one_is_shown() -> None:
    """A first token of two spaces loses one of them, in the stream as in the whole."""
    codec = CODECS["sentencepiece, first space dropped"]
    token = TOKENIZERS["sentencepiece, first space dropped"].token_to_id("▁▁")
    assert token is not None
    assert (streamed(codec, [[token]]), codec.decode([token])) == (" ", " ")


@given(text=texts, prompt=texts)
def test_a_continued_text_keeps_its_first_space(text: str, prompt: str) -> None:
    """Prompt + continuation == whole decode, when the prompt shows anything at all."""
    codec = CODECS["sentencepiece, first space dropped"]
    first, second = codec.encode("x" + prompt, special=False), codec.encode(text, special=False)
    detokenizer = Detokenizer(codec, continues=True)
    assert codec.decode(first) + detokenizer.feed(second) + detokenizer.flush() == codec.decode(
        first + second
    )
