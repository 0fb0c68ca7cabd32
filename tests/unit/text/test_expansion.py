import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from allod.core.pictures import mark_of
from allod.text.expansion import PicturePlace, Spliced, spliced
from allod.text.tokenizer import FileTokenCodec

LETTERS = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "ĊĊ", "ab", "ĠĠ"]
MERGES = [("Ċ", "Ċ"), ("a", "b"), ("Ġ", "Ġ")]
FIRST, SECOND = mark_of(0), mark_of(1)


def codec(*special: str | AddedToken, plain: tuple[str, ...] = ()) -> FileTokenCodec:
    """Bytes, two merges and these tokens; composes characters, as Qwen's tokenizer does."""
    tokenizer = Tokenizer(
        models.BPE(vocab={mark: index for index, mark in enumerate(LETTERS)}, merges=MERGES)
    )
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in plain])
    return FileTokenCodec(tokenizer)


GEMMA = codec("<start>", "<soft>", "<end>", plain=("\n\n",))


def checked(it: FileTokenCodec, prompt: str, *texts: str) -> Spliced:
    """Spliced, with the law of exactness checked."""
    done = spliced(prompt, [it.encode(text, special=False) for text in texts], it)
    for index, text in enumerate(texts):
        prompt = prompt.replace(mark_of(index), text)
    assert done.tokens == it.encode(prompt, special=False)
    return done


def test_words_of_an_expansion_merge_with_their_neighbours() -> None:
    """Gemma's line breaks join those of the prompt; the place is from first to last special token."""
    text = "\n\n<start><soft><soft><soft><end>\n\n"
    done = checked(GEMMA, f"ab\n{FIRST}\nab{FIRST}", text)
    core = GEMMA.encode("<start><soft><soft><soft><end>", special=False)
    assert [place.length for place in done.places] == [5, 5]
    assert all(done.tokens[place.start : place.start + place.length] == core for place in done.places)


def test_the_same_tokens_written_by_a_user_are_no_picture() -> None:
    """Neither before nor behind nor right beside one."""
    done = checked(codec("<i>"), f"<i>a<i>{FIRST}<i><i>{SECOND}", "<i>", "<i><i>")
    assert done.places == (PicturePlace(0, 3, 1), PicturePlace(1, 6, 2))


def test_pictures_stand_in_the_order_of_the_prompt() -> None:
    """Whatever their numbers are; words between special tokens stay."""
    done = checked(codec("<i>", "<j>"), f"a{SECOND}b{FIRST}", "x<i>", "<j>ab<i>ab")
    assert done.places == (PicturePlace(1, 1, 3), PicturePlace(0, 7, 1))


def test_special_tokens_that_take_spaces_take_those_beside_the_picture() -> None:
    """On both sides, as in the whole text."""
    it = codec(AddedToken("<l>", lstrip=True), AddedToken("<r>", rstrip=True))
    checked(it, f"a  {FIRST}  b {SECOND} c", "<l>x<r>", "<r><l>")


def test_characters_that_the_tokenizer_composes_move_nothing() -> None:
    """Places are found in the text as it was written."""
    done = checked(codec("<i>"), f"e\u0301e\u0301{FIRST}e\u0301{SECOND}", "<i>", "<i><i>")
    assert [place.length for place in done.places] == [1, 2]


def test_added_tokens_do_where_there_are_no_special_ones() -> None:
    """Some families add their picture's token as text."""
    done = checked(codec("<s>", plain=("<image>",)), f"ab{FIRST}\nab", "<image><image>\n")
    assert done.places == (PicturePlace(0, 1, 2),)


def test_an_expansion_in_plain_words_stays_as_the_processor_made_it() -> None:
    """Its tokens stand between the words, and are its place; an empty one has an empty place."""
    it = codec("<s>")
    a, b = it.encode("a", special=False)[0], it.encode("b", special=False)[0]
    done = spliced(f"a{FIRST}b<s>{SECOND}{FIRST}", [(b, b), ()], it)
    assert done.tokens == (a, b, b, b, *it.encode("<s>", special=False), b, b)
    assert done.places == (PicturePlace(0, 1, 2), PicturePlace(1, 5, 0), PicturePlace(0, 5, 2))


def test_a_stand_in_that_is_read_otherwise_is_not_used() -> None:
    """Where a longer token swallows the first, the expansion's own tokens stand between the words."""
    it = codec("<<i>", "<i>")
    done = spliced(f"<{FIRST}", [it.encode("<i>", special=False)], it)
    assert done.tokens == it.encode("<", special=False) + it.encode("<i>", special=False)
    assert done.places == (PicturePlace(0, 1, 1),)


def test_without_marks_a_prompt_is_tokenised_as_ever() -> None:
    """An empty one too."""
    assert checked(GEMMA, "ab\n\n<start>").places == ()
    assert checked(GEMMA, "") == Spliced((), ())


@pytest.mark.parametrize("text", ["\n<i>", "<i>\n", "\n<i>\n", "x <i>x\n<i> x"])
@pytest.mark.parametrize("kind", ["always", "prepended"])
def test_a_space_that_the_tokenizer_adds_is_no_word_of_the_expansion(kind: str, text: str) -> None:
    """SentencePiece begins each stretch of words with a space; in the middle of the prompt there is none."""
    pieces = ["<unk>", "▁", "a", "x", "\n", "\n\n", "▁x", "▁▁"]
    merges = [("\n", "\n"), ("▁", "x"), ("▁", "▁")]
    tokenizer = Tokenizer(
        models.BPE({piece: index for index, piece in enumerate(pieces)}, merges, unk_token="<unk>")
    )
    if kind == "always":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens(["<i>"])
    checked(FileTokenCodec(tokenizer), f"a{FIRST}a\n{FIRST}\n{FIRST}{FIRST} x", text)
