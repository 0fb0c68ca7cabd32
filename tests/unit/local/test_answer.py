"""Letters of a worker to the events of a request."""

import pytest

from allod.core.errors import InternalFailure
from allod.core.events import ChoiceFinished, Finished, Progress, TextDelta
from allod.core.ids import RequestId, SequenceId
from allod.core.messages import Admitted, Emission, PrefillProgress
from allod.core.usage import Timings, Usage
from allod.local.answer import Answer
from allod.local.reading import Reading
from allod.local.stream import ChoiceStream
from allod.testing.codec import ByteCodec

ONE, TWO = SequenceId(1), SequenceId(2)


def answer(*stops: str) -> Answer:
    streams = {
        sequence: ChoiceStream(choice, Reading(ByteCodec()), stops)
        for choice, sequence in enumerate((ONE, TWO))
    }
    return Answer(streams, prompt_tokens=5, started_seconds=10.0)


def test_usage_and_timings() -> None:
    """Tokens are counted over all choices; times count from the start of the request."""
    turn = answer()
    assert turn.feed(PrefillProgress(RequestId("r"), 3, 5), 11.0).events == (Progress(3, 5),)
    assert turn.feed(Emission(ONE, (97,)), 12.0).events == [TextDelta(0, "a")]
    turn.feed(Emission(ONE, (256,), "stop"), 13.0)
    assert not turn.finished
    assert turn.feed(Emission(TWO, (98,), "length"), 14.0).events == [
        TextDelta(1, "b"),
        ChoiceFinished(1, "length"),
    ]
    assert turn.finished
    assert turn.conclude(15.0) == Finished(Usage(5, 3), Timings(1.0, 2.0, 5.0))


def test_a_stop_string_names_the_sequence_to_cancel_once() -> None:
    """The worker is told once, and not at all when it has ended the sequence itself."""
    turn = answer("b")
    assert turn.feed(Emission(ONE, (97, 98)), 1.0).cancel == ONE
    assert turn.feed(Emission(ONE, (99,)), 1.0).cancel is None
    assert turn.feed(Emission(TWO, (98,), "length"), 1.0).cancel is None
    assert turn.finished


def test_a_second_admission_is_a_fault() -> None:
    """Letters out of place are not passed over in silence."""
    with pytest.raises(InternalFailure, match="Admitted"):
        answer().feed(Admitted(RequestId("r"), 8, 0), 1.0)
