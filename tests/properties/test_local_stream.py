"""Any cut of a choice's tokens into emissions gives the same answer."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from allod.core.events import ChoiceFinished, ScoredToken, TextDelta
from allod.core.ids import SequenceId
from allod.core.messages import Emission
from allod.core.step import Scores
from allod.local.reading import Reading
from allod.local.stream import ChoiceStream
from allod.testing.codec import ByteCodec

CODEC = ByteCodec()
WORDS = st.text(alphabet="abé€", max_size=12)


def _answer(
    tokens: tuple[int, ...], cuts: list[int], finish: str, stops: tuple[str, ...]
) -> tuple[str, list[ScoredToken], str, int]:
    stream = ChoiceStream(0, Reading(CODEC), stops)
    text, scores, reason = "", [], ""
    edges = [0, *sorted(cuts), len(tokens)]
    for start, end in pairwise(edges):
        part = tokens[start:end]
        scored = tuple(Scores(-float(start + index)) for index in range(len(part)))
        for event in stream.feed(
            Emission(SequenceId(1), part, finish if end == len(tokens) else None, scored)
        ):
            if isinstance(event, TextDelta):
                text += event.text
                scores.extend(event.scores)
            else:
                assert isinstance(event, ChoiceFinished)
                assert reason == ""
                reason = event.reason
    return text, scores, reason, stream.completion_tokens


@given(
    text=WORDS,
    cut_bytes=st.integers(0, 3),
    finish=st.sampled_from(["stop", "length"]),
    stops=st.lists(WORDS.filter(bool), max_size=2).map(tuple),
    data=st.data(),
)
def test_any_split(
    text: str, cut_bytes: int, finish: str, stops: tuple[str, ...], data: st.DataObject
) -> None:
    """Text, scores, reason and count depend on the tokens alone, not on the steps they came in."""
    tokens = (*text.encode()[: max(0, len(text.encode()) - cut_bytes)], 97)
    cuts = data.draw(
        st.lists(st.integers(1, len(tokens) - 1), unique=True) if len(tokens) > 1 else st.just([])
    )
    whole = _answer(tokens, [], finish, stops)
    assert _answer(tokens, cuts, finish, stops) == whole
    shown, scores, reason, _ = whole
    assert not any(stop in shown for stop in stops)
    assert len(scores) <= len(tokens)
    assert reason in ("stop", "length")
    seen = b"".join(score.chosen.data for score in scores)
    assert shown.startswith(seen.decode(errors="replace"))
