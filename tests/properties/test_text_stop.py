"""Laws of stop strings."""

from hypothesis import example, given
from hypothesis import strategies as st

from allod.text.stop import StopMatcher

# few letters and short strings, so that stops overlap, nest and nearly match
texts = st.text("ab\u00e9😀", max_size=30)
stop_lists = st.lists(st.text("ab\u00e9😀", max_size=5), max_size=5)


def reference(text: str, stops: list[str]) -> tuple[str, str | None]:
    """The law read out: every end from left to right, at each end every start from left to right."""
    for end in range(1, len(text) + 1):
        for start in range(end):
            if text[start:end] in stops:
                return text[:start], text[start:end]
    return text, None


@given(pieces=st.lists(texts, max_size=8), stops=stop_lists)
@example(pieces=["aab", "a"], stops=["aaba", "b"])
@example(pieces=["ab", "aab"], stops=["abaab", "baab", "aab"])
def test_any_cut_gives_what_a_scan_of_the_whole_text_gives(pieces: list[str], stops: list[str]) -> None:
    """Shown text and matched string do not depend on the cut, and are those of a naive scan."""
    matcher = StopMatcher(stops)
    shown = "".join(map(matcher.feed, pieces)) + matcher.flush()
    assert (shown, matcher.matched) == reference("".join(pieces), stops)


@given(text=texts, stops=stop_lists)
def test_only_what_can_still_match_is_held_back(text: str, stops: list[str]) -> None:
    """What is held is the longest end of the text that begins a stop string."""
    matcher = StopMatcher(stops)
    shown = matcher.feed(text)
    if matcher.matched is None:
        held = text.removeprefix(shown)
        begun = [text[at:] for at in range(len(text) + 1) if any(s.startswith(text[at:]) for s in stops)]
        assert held == (begun[0] if begun else "")


@given(stops=stop_lists, text=texts)
def test_nothing_is_shown_after_a_match(stops: list[str], text: str) -> None:
    """Once a stop string is complete, feed and flush return nothing."""
    matcher = StopMatcher([*stops, "a"])
    matcher.feed("éa")
    assert matcher.matched is not None
    assert (matcher.feed(text), matcher.flush()) == ("", "")
