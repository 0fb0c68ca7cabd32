"""A prompt with pictures has the tokens of the text that it stands for, whatever the tokenizer."""

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from allod.core.pictures import mark_of
from allod.text.expansion import spliced
from allod.text.tokenizer import FileTokenCodec

CORPUS = [
    "The quick brown fox jumps",
    "naïve café — 日本語 😀",
    "\n\n\nfor  x in  y:\n\n    pass\n",
    "a  b   c",
]
SPECIAL = [
    "<image>",
    "<start>",
    "<end>",
    AddedToken("<left>", lstrip=True, special=True),
    AddedToken("<right>", rstrip=True, special=True),
]
NAMES = [str(token) if isinstance(token, str) else token.content for token in SPECIAL]


def byte_level(*, regex: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS * 2, trainer)
    return tokenizer


def unigram(scheme: str) -> Tokenizer:
    byte_names = [("<unk>", 0.0), *((f"<0x{byte:02X}>", -20.0) for byte in range(256))]
    words = ["▁", "▁▁", "▁a", "a", "x", "ax", "▁x", "\n", "\n\n", "▁\n", "b", "fox", "▁fox", "é"]
    pieces = [*byte_names, *((word, -5.0 - len(word) / 10) for word in words)]
    tokenizer = Tokenizer(models.Unigram(pieces, 0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=scheme != "never")
    replaced = decoders.Replace("▁", " ")
    tokenizer.decoder = decoders.Sequence([replaced, decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def prepending() -> Tokenizer:
    """Llama 2's: each stretch of words begins with a space, whatever it begins with."""
    tokenizer = unigram("never")
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer


TOKENIZERS = {
    "bytes": byte_level(regex=False),
    "bytes in words": byte_level(regex=True),
    "space first": unigram("first"),
    "space always": unigram("always"),
    "space never": unigram("never"),
    "space prepended": prepending(),
}
for tokenizer in TOKENIZERS.values():
    tokenizer.add_special_tokens(list(SPECIAL))
CODECS = {name: FileTokenCodec(tokenizer) for name, tokenizer in TOKENIZERS.items()}
AMBIGUOUS = {"space first", "space always"}
"""Where a text has the same tokens with a space at its start and without."""

words = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.lists(st.sampled_from(["a", "x", " ", "  ", "\n", "\n\n", "fox", "é", "e\u0301", "<"])).map("".join),
)
mixed = st.lists(st.one_of(words, st.sampled_from(NAMES)), max_size=6).map("".join)


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data())
def test_the_tokens_are_those_of_the_whole_text(name: str, data: st.DataObject) -> None:
    """For any words, users' special tokens among them, and any expansions with a special token.

    Places are in order, do not overlap, begin and end with a special token and hold what the expansion has.
    """
    codec = CODECS[name]
    texts = data.draw(
        st.lists(st.tuples(words, mixed, st.sampled_from(NAMES), mixed), min_size=1, max_size=4)
    )
    whole = ["".join(parts) for parts in texts]
    assume(name not in AMBIGUOUS or not any(text.startswith(" ") for text in whole))
    expansions = [codec.encode(text, special=False) for text in whole]
    between = data.draw(st.lists(st.tuples(mixed, st.sampled_from(range(len(texts)))), max_size=6))
    end = data.draw(mixed)
    prompt = "".join(text + mark_of(index) for text, index in between) + end
    done = spliced(prompt, expansions, codec)

    plain = "".join(text + whole[index] for text, index in between) + end
    assert done.tokens == codec.encode(plain, special=False)
    assert [place.picture for place in done.places] == [index for _, index in between]
    assert all(left.start + left.length <= right.start for left, right in pairwise(done.places))
    for place in done.places:
        tokens = expansions[place.picture]
        at = [at for at, token in enumerate(tokens) if token in codec.special_tokens]
        core = tokens[at[0] : at[-1] + 1]
        assert done.tokens[place.start : place.start + place.length] == core
