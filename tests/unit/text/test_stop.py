from allod.text.stop import StopMatcher


def test_the_first_string_to_be_complete_ends_the_answer() -> None:
    """`bc` is complete before `abcd`, although `abcd` starts earlier."""
    matcher = StopMatcher(["abcd", "bc"])
    assert matcher.feed("xabcd") == "xa"
    assert matcher.matched == "bc"


def test_of_strings_complete_at_once_the_longest_counts() -> None:
    """`abc` and `c` end together; the cut is before `abc`."""
    matcher = StopMatcher(["c", "abc"])
    assert matcher.feed("xab") == "x"
    assert matcher.feed("c") == ""
    assert matcher.matched == "abc"


def test_text_that_turns_out_harmless_is_shown() -> None:
    """A begun stop string is held back until it fails."""
    matcher = StopMatcher(["\n\nUser:"])
    assert matcher.feed("yes\n") == "yes"
    assert matcher.feed("\nU") == ""
    assert matcher.feed("sage") == "\n\nUsage"
    assert matcher.flush() == ""


def test_flush_shows_what_was_held() -> None:
    """At the end nothing can complete a begun stop string."""
    matcher = StopMatcher(["stop"])
    assert matcher.feed("don't st") == "don't "
    assert matcher.flush() == "st"
    assert matcher.matched is None


def test_empty_strings_are_ignored() -> None:
    """An empty stop string would end every answer at once."""
    matcher = StopMatcher(["", ""])
    assert matcher.feed("text") == "text"
    assert matcher.matched is None
