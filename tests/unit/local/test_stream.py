"""Tokens of one choice to events."""

from allod.core.events import ChoiceFinished, TextDelta
from allod.core.ids import SequenceId
from allod.core.messages import Emission
from allod.core.step import Scores
from allod.local.reading import Reading
from allod.local.stream import ChoiceStream
from allod.testing.codec import ByteCodec

CODEC = ByteCodec()
STOP = 256


def emission(data: bytes | tuple[int, ...], finish: str | None = None, *, scored: bool = False) -> Emission:
    scores = tuple(Scores(-float(token), ((token, -0.5),)) for token in data) if scored else ()
    return Emission(SequenceId(1), tuple(data), finish, scores)


def stream(*stops: str) -> ChoiceStream:
    return ChoiceStream(2, Reading(CODEC), stops)


def test_text_comes_as_it_is_complete() -> None:
    """Whole characters are shown at once, half ones when their last byte is there."""
    choice = stream()
    euro = "€".encode()
    assert choice.feed(emission(b"a")) == [TextDelta(2, "a")]
    assert choice.feed(emission(euro[:2])) == []
    assert choice.feed(emission(euro[2:] + b"b")) == [TextDelta(2, "€b")]


def test_the_stop_token_counts_but_is_not_shown() -> None:
    """With finish `stop` the last token is the model's end: counted, without text."""
    choice = stream()
    assert choice.feed(emission((97, 98), "stop")) == [TextDelta(2, "a"), ChoiceFinished(2, "stop")]
    assert choice.completion_tokens == 2
    assert choice.finished
    assert not choice.stopped_itself


def test_the_last_token_of_a_full_answer_is_shown() -> None:
    """With finish `length` the last token is part of the answer."""
    assert stream().feed(emission(b"ab", "length")) == [TextDelta(2, "ab"), ChoiceFinished(2, "length")]


def test_half_a_character_at_the_end_is_marked() -> None:
    """An answer cut inside a character ends with U+FFFD, like the text of all its tokens."""
    events = stream().feed(emission("é".encode()[:1], "length"))
    assert events == [TextDelta(2, "\ufffd"), ChoiceFinished(2, "length")]


def test_a_stop_string_ends_the_choice_before_it() -> None:
    """Text before the stop string is shown, the rest is not, and tokens after it do not count."""
    choice = stream("END")
    assert choice.feed(emission(b"onE")) == [TextDelta(2, "on")]
    assert choice.feed(emission(b"NDrest")) == [ChoiceFinished(2, "stop", "END")]
    assert choice.completion_tokens == 5
    assert choice.stopped_itself
    assert choice.feed(emission(b"more")) == []
    assert choice.completion_tokens == 5


def test_text_held_back_for_a_stop_string_is_shown_at_the_end() -> None:
    """What could have become a stop string but did not is part of the answer."""
    assert stream("END").feed(emission(b"onEN", "length")) == [
        TextDelta(2, "onEN"),
        ChoiceFinished(2, "length"),
    ]


def test_a_stop_string_decides_over_the_length() -> None:
    """A stop string completed by the last token is a `stop`, not a `length`."""
    assert stream("END").feed(emission(b"END", "length")) == [ChoiceFinished(2, "stop", "END")]


def test_scores_come_with_the_end_of_their_text() -> None:
    """Scores wait for the character their token is part of, and hold exact bytes."""
    choice = stream()
    first, second = "é".encode()
    assert choice.feed(emission((first,), scored=True)) == []
    (delta,) = choice.feed(emission((second,), scored=True))
    assert isinstance(delta, TextDelta)
    assert delta.text == "é"
    assert [score.chosen.data for score in delta.scores] == [bytes((first,)), bytes((second,))]
    assert [score.chosen.text for score in delta.scores] == ["\ufffd", "\ufffd"]
    assert delta.scores[0].alternatives[0].logprob == -0.5


def test_scores_of_text_that_a_stop_string_cut_are_dropped() -> None:
    """The client sees scores for the tokens it sees text of, no others."""
    (delta, end) = stream("cd").feed(emission(b"abcde", scored=True))
    assert isinstance(delta, TextDelta)
    assert delta.text == "ab"
    assert b"".join(score.chosen.data for score in delta.scores) == b"ab"
    assert end == ChoiceFinished(2, "stop", "cd")


def test_scores_wait_while_their_text_is_held_back() -> None:
    """Text that may become a stop string is held back with its scores."""
    choice = stream("cd")
    (delta,) = choice.feed(emission(b"abc", scored=True))
    assert isinstance(delta, TextDelta)
    assert (delta.text, len(delta.scores)) == ("ab", 2)
    (rest,) = choice.feed(emission(b"x", scored=True))
    assert isinstance(rest, TextDelta)
    assert (rest.text, len(rest.scores)) == ("cx", 2)


def test_the_stop_token_has_no_scores() -> None:
    """The model's end token is not part of the answer, nor are its scores."""
    (delta, _) = stream().feed(emission((97, STOP), "stop", scored=True))
    assert isinstance(delta, TextDelta)
    assert len(delta.scores) == 1


def test_a_special_token_at_the_end_keeps_its_scores() -> None:
    """A token without text that is no stop token reports its scores when the choice ends."""
    (delta, end) = stream().feed(emission((STOP,), "length", scored=True))
    assert isinstance(delta, TextDelta)
    assert (delta.text, [score.chosen.text for score in delta.scores]) == ("", ["<|256|>"])
    assert end == ChoiceFinished(2, "length")
