"""Prompts that go on from a word of another have the tokens of the whole, whatever the tokenizer file."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.properties.test_text_tokens import CORPUS, TOKENIZERS
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from allod.core.ids import TenantId, TokenId
from allod.local.reuse import PromptEncoder
from allod.text.cuts import Encoded, Word
from allod.text.tokenizer import FileTokenCodec

OURS = TenantId("a")
LLAMA = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LARGE = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
STAGED = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
)
LOOKING_BACK = r"(?<=the )quick|" + LLAMA
FAR_AHEAD = r"[a-z ]+;|" + LLAMA
UPPER = r"\p{Lu}\p{L}*"
TEXTS = [
    *CORPUS,
    "isn't it? they'LL say 1234567 x 12 and 3 of them; we've done",
    "if (a == b) {\r\n\treturn x;\r\n}\r\n",
]


def trained(*stages: pre_tokenizers.PreTokenizer) -> Tokenizer:
    """A byte-level BPE with these stages, and with merges across spaces where they allow them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*stages])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    tokenizer.add_tokens(["<tool>"])
    return tokenizer


def split(
    expression: str, behavior: str = "isolated", *, invert: bool = False
) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(expression), behavior, invert)


def plain_bytes(*, use_regex: bool = False, prefix: bool = False) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=use_regex)


def changed(tokenizer: Tokenizer, **parts: object) -> Tokenizer:
    """The same with other parts."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    for name, part in parts.items():
        setattr(copy, name, part)
    return copy


def with_added(tokenizer: Tokenizer, *tokens: AddedToken) -> Tokenizer:
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.add_tokens([*tokens])
    return copy


GPT = trained(plain_bytes(use_regex=True))
QWEN = changed(trained(split(LLAMA), plain_bytes()), normalizer=normalizers.NFC())
STARTER = trained(pre_tokenizers.Digits(individual_digits=True), plain_bytes(use_regex=True))
EXACT = {
    "GPT-2": GPT,
    "GPT-2, spans without spaces": changed(GPT, post_processor=processors.ByteLevel(trim_offsets=True)),
    "Qwen": QWEN,
    "Llama 3": trained(split(LLAMA, "removed", invert=True), plain_bytes()),
    "large": trained(split(LARGE), plain_bytes()),
    "starter": STARTER,
    "staged": trained(split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(STAGED), plain_bytes()),
    "marks": trained(pre_tokenizers.Punctuation(), pre_tokenizers.Digits(), plain_bytes(use_regex=True)),
    "few places": trained(split(UPPER), pre_tokenizers.Digits(), plain_bytes()),
    "tokens of spaces": with_added(
        QWEN,
        AddedToken("  "),
        AddedToken(" ", normalized=False),
        AddedToken("fox", normalized=True),
        AddedToken("<|a|>", lstrip=True, rstrip=True),
        AddedToken("<|b|>", single_word=True),
    ),
}
INEXACT = {
    "looks back": trained(split(LOOKING_BACK), plain_bytes()),
    "looks far ahead": trained(split(FAR_AHEAD), plain_bytes()),
    "merged": trained(split(" ", "merged_with_next"), plain_bytes()),
    "one piece": trained(plain_bytes(prefix=True)),
    "Gemma": changed(
        TOKENIZERS["byte-level"],
        normalizer=normalizers.Replace(" ", "▁"),
        pre_tokenizer=pre_tokenizers.Split(" ", "merged_with_previous"),
    ),
    "Metaspace": TOKENIZERS["sentencepiece, first space dropped"],
    "no stage": TOKENIZERS["sentencepiece, spaces kept"],
    "other normal form": changed(GPT, normalizer=normalizers.Lowercase()),
    "bytes before": trained(plain_bytes(use_regex=True), pre_tokenizers.Digits()),
    "a token of two words": with_added(GPT, AddedToken("brown fox")),
    "a token that takes in spaces": with_added(GPT, AddedToken("fox", rstrip=True)),
    "a token that stands alone": with_added(GPT, AddedToken(" fox", single_word=True)),
}
CODECS = {name: FileTokenCodec(tokenizer, word_characters=6) for name, tokenizer in (EXACT | INEXACT).items()}
SCRAPS = [
    *TEXTS,
    *(
        "<s>",
        "</s>",
        "<tool>",
        "<to",
        "ol>",
        "<|a|>",
        "<|b|>",
        "fox",
        " fox",
        "brown",
        "the quick",
        ";",
        "a b",
        " c d e",
    ),
    *(
        " ",
        "  ",
        "   x",
        "\n",
        "\r\n",
        " \r\n ",
        "\t",
        "\u00a0",
        "\u3000",
        "\u0085",
        "\u2028",
        "\x1c",
        "\ufeff",
    ),
    *(
        "\u0301",
        "e\u0301",
        "क\u093c",
        "\u0958",
        "ᄒ",
        "ᅡ",
        "ᆫ",
        "\u212a",
        "½",
        "²",
        "Ⅷ",
        "١٢",
        "7",
        "42 ",
        "'s",
        " 'S",
        "n't",
    ),
    *(
        "ſ",
        "ß",
        "ŉ",
        "ﬆ",
        "😀",
        "👩‍👩‍👧",
        "日本",
        "한국어 말",
        "слово и дело",
        "A B",
        "Über Öl",
        "x_y",
        "_ _",
        "--",
        "''",
    ),
]
scraps = st.lists(
    st.one_of(st.sampled_from(SCRAPS), st.text(st.characters(exclude_categories=["Cs"]), max_size=3)),
    max_size=14,
).map("".join)


def reads(codec: FileTokenCodec, text: str) -> tuple[int, ...]:
    return codec.encode(text, special=False)


@pytest.mark.parametrize("name", EXACT | INEXACT)
@settings(max_examples=40)
@given(begin=scraps, ends=st.lists(scraps, min_size=1, max_size=4))
def test_tokens_are_those_of_the_whole_text(name: str, begin: str, ends: list[str]) -> None:
    """However a text goes on, grows, and is another again, from any of those before it."""
    codec = CODECS[name]
    encoder = PromptEncoder(codec, least_characters=0)
    grown = [begin + "".join(ends[:count]) for count in range(len(ends) + 1)]
    for text in (*grown, *(begin + end for end in ends), *(text[:-1] + " it" for text in grown)):
        assert encoder.encode(OURS, text) == reads(codec, text)


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=40)
@given(begin=scraps, end=scraps)
def test_a_text_can_be_cut_before_the_words_that_are_told(name: str, begin: str, end: str) -> None:
    """Both parts have the tokens of the whole, and the second part has the same words behind its first."""
    codec = CODECS[name]
    whole = codec.encoded(begin + end)
    for index, (place, start) in enumerate(whole.words):
        assert reads(codec, (begin + end)[:start]) == whole.tokens[:place]
        rest = codec.encoded((begin + end)[start:])
        assert rest.tokens == whole.tokens[place:]
        moved = [(word.place + place, word.start + start) for word in rest.words]
        assert moved == [tuple(word) for word in whole.words[index + 1 :]]


@pytest.mark.parametrize("name", EXACT)
def test_words_are_known_in_files_that_read_them_alone(name: str) -> None:
    """All these kinds of file have words before which a text can be cut."""
    assert CODECS[name].encoded(" ".join(["the", "quick", "Brown", "jumps", "7", "Times"] * 9)).words


@pytest.mark.parametrize("name", INEXACT)
def test_words_are_not_known_in_other_files(name: str) -> None:
    """What is not known to be exact is not done."""
    assert not CODECS[name].encoded(" ".join(["the", "quick", "Brown", "fox", "7", "Times"] * 9)).words


class Counting:
    """A codec that knows what it was asked for; it may find other tokens where a text begins with a space."""

    def __init__(self, *, differs: bool = False) -> None:
        self._codec = FileTokenCodec(STARTER, word_characters=20)
        self._differs = differs
        self.read: list[str] = []

    def encode(self, text: str, *, special: bool) -> tuple[TokenId, ...]:
        return self._codec.encode(text, special=special)

    def encoded(self, text: str) -> Encoded:
        self.read.append(text)
        found = self._codec.encoded(text)
        if self._differs and text.startswith(" "):
            return Encoded(
                (0, *found.tokens), found.cuts, tuple(Word(at + 1, start) for at, start in found.words)
            )
        return found


DOCUMENT = "<s>" + "The quick brown fox jumps over the lazy dog. " * 20


def test_another_question_behind_a_document_costs_the_question() -> None:
    """Of the document only the last words are read again, but for another tenant all of it."""
    codec = Counting()
    encoder = PromptEncoder(codec, least_characters=0, most_texts=1)
    for question in ("Why?", "Where to?", "And then?", "Who is it that jumps?"):
        encoder.encode(OURS, DOCUMENT + question)
    encoder.encode(TenantId("b"), DOCUMENT)
    first, *others, last = codec.read
    assert (first, last) == (DOCUMENT + "Why?", DOCUMENT)
    assert all(len(text) < 100 and text.startswith(" ") for text in others)


def test_a_text_that_grows_keeps_its_words() -> None:
    """What is read again does not grow with it, though each text is only known from the one before it."""
    codec = Counting()
    encoder = PromptEncoder(codec, least_characters=0, most_texts=1)
    for length in range(300, len(DOCUMENT), 10):
        encoder.encode(OURS, DOCUMENT[:length])
    assert max(map(len, codec.read[1:])) < 100


def test_where_known_tokens_are_not_found_again_the_whole_text_is_read() -> None:
    """What its file promises is looked at in each text too."""
    codec = Counting(differs=True)
    encoder = PromptEncoder(codec, least_characters=0)
    encoder.encode(OURS, DOCUMENT + "Why?")
    assert encoder.encode(OURS, DOCUMENT + "Who?") == codec.encode(DOCUMENT + "Who?", special=False)
    assert codec.read[1].startswith(" ")
    assert codec.read[2:] == [DOCUMENT + "Who?"]


def test_words_are_not_known_where_pieces_are_merged_at_random() -> None:
    """The same text may have other tokens there each time."""
    model = models.BPE({"a": 0, "Ġ": 1, "Ġa": 2}, [("Ġ", "a")], dropout=0.5)
    codec = FileTokenCodec(changed(GPT, model=model), word_characters=1)
    assert not codec.encoded("a a a a a a a a").words
