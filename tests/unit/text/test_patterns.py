r"""What is told of regular expressions holds for the library that matches them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from allod.text.patterns import keeps_spaces_apart

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
IN_USE = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + SPACES,
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|" + SPACES,
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}]*[\p{Ll}\p{M}]+" + CONTRACTIONS + r"?| ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|""" + SPACES,
    r"[一-龥぀-ゟ゠-ヿ]+",
    r"\p{N}{1,3}",
    r"\p{Han}+|[^\r\n\p{L}\p{N}]?\p{L}+",
    " ",
    r"\ ?x",
]
ACROSS = [
    "a b",
    "a? ?b| x",
    "(?:a|b )+|(?:,c*)+ ",
    "[a-z ]+;",
    "[^x]+",
    "[!-~]*[ -~]",
    r"\w+\s",
    r"[\S\s]+",
    r"\p{L}+(?:\n|)\s",
    "a{2}(?:b?c*){0,3} ",
    r"[^\n]{2}",
]
UNKNOWN = [
    "(?<=a)b",
    "(?<!a)b",
    "^a",
    "a$",
    r"\bword\b",
    r"(a)\1",
    r"\Ga",
    "a(?=b)",
    r"a(?!\s)",
    r"a(?!\S\S)",
    ".",
    r"\P{L}",
    r"\p{^L}",
    r"\p{Z}",
    r"\X",
    r"\x20",
    "(?>a)",
    "(?x: a b)",
    "(?i)a",
    "[[:space:]]",
    r"[a&&\s]",
    "[]a]",
    "[^]a]",
    "a{}",
    "*a",
    "(" * 5000,
]


@pytest.mark.parametrize("expression", IN_USE)
def test_expressions_in_use_are_understood(expression: str) -> None:
    """Those of the families that there are keep spaces apart from what is before them."""
    assert keeps_spaces_apart(expression)


@pytest.mark.parametrize("expression", [*ACROSS, *UNKNOWN])
def test_of_others_nothing_is_said(expression: str) -> None:
    """They may match a space behind a letter, look around, or have what is not understood."""
    assert not keeps_spaces_apart(expression)


ATOMS = [
    *("a", " ", ",", "\n", "é", r"\s", r"\S", r"\p{L}", r"\p{N}", r"\p{P}", r"\d", r"\w", r"\n", r"\ "),
    *("[ab]", r"[^\s\p{L}]", "[^ ]", r"[\s,]", "[ -a]", "[!-z]", r"[^\r\n\p{L}]", r"[\t-\r]", r"[a\-]"),
    *(r"\.", r"(?:\s(?!\S))"),
]
quantifiers = st.sampled_from(["", "", "", "?", "*", "+", "{1,3}", "{2}", "{,2}", "+?", "*+", "?+", "{2}+"])


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    sequences = st.lists(st.tuples(inner, quantifiers).map("".join), min_size=1, max_size=3).map("".join)
    choices = st.lists(sequences, min_size=1, max_size=3).map("|".join)
    return st.tuples(st.sampled_from(["(?:", "(", "(?i:"]), choices).map(lambda pair: "".join((*pair, ")")))


@given(
    expression=st.recursive(st.sampled_from(ATOMS), larger, max_leaves=8),
    text=st.text(st.sampled_from("ab, \n1é\u0301\tZ.-"), min_size=4, max_size=30),
)
def test_no_match_has_a_space_behind_a_letter(expression: str, text: str) -> None:
    """Of what is told to keep spaces apart, whatever it is made of."""
    if keeps_spaces_apart(expression):
        matching = pre_tokenizers.Split(Regex(expression), "removed", invert=True)
        for match, _ in matching.pre_tokenize_str(text):
            assert not any(letter.isalnum() and after == " " for letter, after in pairwise(match))
