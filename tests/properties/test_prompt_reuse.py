"""Prompts that are read from where they differ have the tokens that the library gives them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.properties.test_text_tokens import CORPUS, SPECIAL, TOKENIZERS
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers

from allod.core.ids import TenantId, TokenId
from allod.local.reuse import PromptEncoder
from allod.text.cuts import Encoded
from allod.text.tokenizer import FileTokenCodec

OURS, THEIRS = TenantId("a"), TenantId("b")


def awkward() -> Tokenizer:
    """Special tokens that take in spaces or are parts of others, and a prefix for every stretch of words."""
    tokenizer = Tokenizer.from_str(TOKENIZERS["sentencepiece, spaces kept"].to_str())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = None
    more = ("<|end|>of", "x<s>y", "end|>")
    tokenizer.add_special_tokens([*more, AddedToken("<|sep|>", lstrip=True, rstrip=True, special=True)])
    tokenizer.add_tokens(["<tool>"])
    return tokenizer


def prefixed() -> Tokenizer:
    """A space is put before every stretch of words."""
    tokenizer = Tokenizer.from_str(TOKENIZERS["byte-level"].to_str())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


ALL = {**TOKENIZERS, "awkward": awkward(), "with a prefix": prefixed()}
CODECS = {name: FileTokenCodec(tokenizer) for name, tokenizer in ALL.items()}
pieces = st.lists(
    st.sampled_from(
        [*SPECIAL, *CORPUS, " ", "<|sep|>", "<|end|>of", "x<s>y", "<|e", "nd|>", "<tool>", "of", "x", "y"]
    ),
    max_size=12,
).map("".join)


@pytest.mark.parametrize("name", CODECS)
@given(begin=pieces, ends=st.lists(pieces, min_size=1, max_size=4))
def test_tokens_are_those_of_the_whole_text(name: str, begin: str, ends: list[str]) -> None:
    """Whatever was encoded before, by this tenant or others."""
    codec = CODECS[name]
    encoder = PromptEncoder(codec, least_characters=0, most_texts=3)
    for count in range(len(ends) + 1):
        text = begin + "".join(ends[:count])
        assert encoder.encode(OURS, text) == codec.encode(text, special=False)
    for end in ends:
        assert encoder.encode(THEIRS, begin + end) == codec.encode(begin + end, special=False)


class Counting:
    """A codec that knows how much it was asked for."""

    def __init__(self) -> None:
        self._codec = CODECS["byte-level"]
        self.read: list[str] = []

    def encode(self, text: str, *, special: bool) -> tuple[TokenId, ...]:
        return self._codec.encode(text, special=special)

    def encoded(self, text: str) -> Encoded:
        self.read.append(text)
        return self._codec.encoded(text)


def test_a_turn_more_costs_the_turn() -> None:
    """What was read before is read again only by another tenant."""
    codec = Counting()
    encoder = PromptEncoder(codec, least_characters=0)
    first, second = "<s>What is red?</s>", "<s>And blue?</s>"
    encoder.encode(OURS, first)
    encoder.encode(OURS, first + second)
    encoder.encode(THEIRS, first + second)
    assert codec.read == [first, "</s>" + second, first + second]


def test_where_a_short_text_can_be_cut_is_not_asked() -> None:
    """It is read anew in less time than it takes to find out."""
    codec = Counting()
    encoder = PromptEncoder(codec, least_characters=20)
    assert encoder.encode(OURS, "<s>red</s>") == CODECS["byte-level"].encode("<s>red</s>", special=False)
    encoder.encode(OURS, "<s>red</s>" * 2)
    assert codec.read == ["<s>red</s>" * 2]


def test_what_is_remembered_is_bounded() -> None:
    """By the number of texts, and of their characters; the oldest goes first."""
    codec = Counting()
    few, short = PromptEncoder(codec, 0, most_texts=1), PromptEncoder(codec, 0, most_characters=40)
    for encoder in (few, short):
        codec.read.clear()
        for text in ("<s>red</s>blue", "<s>green, and a text that is longer</s>", "<s>red</s>blue"):
            encoder.encode(OURS, text)
        assert codec.read[2] == "<s>red</s>blue"
