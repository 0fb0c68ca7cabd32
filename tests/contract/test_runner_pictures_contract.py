"""What every Runner that sees keeps about pictures. Add an implementation to SEERS, and all of this holds.

A factory makes a fresh runner; `asked` makes prompts that it can read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import pytest
from tests.scaffolding import seer as seers
from tests.scaffolding.seer import Question
from tests.scaffolding.vision_families import picture

from allod.core.ids import SegmentId, SequenceId, TokenId
from allod.core.pictures import Digest, PictureSpan, PreparedPicture, Sight, Tensor
from allod.core.ports import Runner
from allod.core.sampling import Sampling
from allod.core.step import Encode, Encoded, Join, Keep, Prefill, Restore, StepPlan
from allod.testing.models import tiny_facts
from allod.testing.pictures import shown_in
from allod.testing.runner import FakeRunner

ANSWER = 5
AT_ONCE = 60.0
"""Seconds in which any picture here is seen."""

GREEDY = Sampling(temperature=0.0)
ONE, TWO, THREE = (SequenceId(number) for number in (1, 2, 3))


@dataclass(frozen=True)
class Seeing:
    """A runner that sees, and the prompts that it can be asked.

    Attributes:
        make: a fresh runner.
        question: a prompt with these pictures, which are numbers, before the same words.
    """

    make: Callable[[], Runner]
    question: Callable[[Sequence[int]], Question]


def fake_question(numbers: Sequence[int]) -> Question:
    tokens: list[TokenId] = [1]
    spans: list[PictureSpan] = []
    prepared: dict[Digest, PreparedPicture] = {}
    for number in numbers:
        own = (90, *[91] * 9, 92)
        made = PreparedPicture(own, (Tensor("pixels", "uint8", (20,), bytes([number] * 20)),))
        digest = Digest(bytes([number] * 32))
        spans.append(PictureSpan(len(tokens), len(own), digest, 20))
        prepared[digest] = made
        tokens += own
    return Question("", (*tokens, 5, 6, 7, 8), tuple(spans), prepared)


def fake(*, whole: bool = False) -> Seeing:
    sight = Sight(0, 8, 1.0, 0.0, 10_000, whole_spans=whole)
    return Seeing(lambda: FakeRunner(tiny_facts(sight=sight)), fake_question)


def mlx(family: str, base: pytest.TempPathFactory) -> Seeing:
    own = seers.seer(family, base.getbasetemp() / "seers")

    def question(numbers: Sequence[int]) -> Question:
        return own.question([picture(60 + 8 * (number % 2), 64, number) for number in numbers], "What now?")

    return Seeing(own.runner, question)


SEERS: dict[str, Callable[[pytest.TempPathFactory], Seeing]] = {
    "fake": lambda _: fake(),
    "fake, whole pictures": lambda _: fake(whole=True),
    "mlx, rows and columns": partial(mlx, "qwen2_5_vl"),
    "mlx, deep features": partial(mlx, "qwen3_vl"),
    "mlx, one size": partial(mlx, "gemma3"),
    "mlx, whole pictures": partial(mlx, "gemma4_bidirectional"),
}


@pytest.fixture(scope="module", params=SEERS.values(), ids=list(SEERS))
def seeing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seeing:
    return request.param(tmp_path_factory)


@pytest.fixture
def runner(seeing: Seeing) -> Runner:
    return seeing.make()


def look(runner: Runner, question: Question, seconds: float = AT_ONCE) -> list[Encoded]:
    """Receive and look at every picture of a question, so long at a time."""
    told: list[Encoded] = []
    for span in question.spans:
        runner.receive(span.digest, question.prepared[span.digest].tensors)
        told += go_on(runner, question, span, seconds)
    return told


def go_on(runner: Runner, question: Question, span: PictureSpan, seconds: float) -> list[Encoded]:
    told: list[Encoded] = []
    while not told or told[-1].pieces_left:
        encoded = piece(runner, question, span, seconds)
        told.append(encoded)
    return told


def piece(runner: Runner, question: Question, span: PictureSpan, seconds: float) -> Encoded:
    tokens = question.tokens[span.start : span.end]
    encoded = runner.launch(StepPlan(encode=Encode(span.digest, tokens, seconds))).collect().encoded
    assert encoded is not None
    assert encoded.digest == span.digest
    return encoded


def chunk(state: SequenceId, question: Question, start: int, end: int) -> Prefill:
    return Prefill(state, question.tokens[start:end], shown_in(question.spans, start, end))


def read(runner: Runner, question: Question, state: SequenceId = ONE, cuts: Sequence[int] = ()) -> None:
    for start, end in pairwise([0, *cuts, len(question.tokens) - 1]):
        runner.launch(StepPlan(prefill=(chunk(state, question, start, end),))).collect()


def join(question: Question, state: SequenceId, *rows: SequenceId) -> Join:
    entering = tuple((row, GREEDY) for row in rows or (state,))
    return Join(state, entering, question.tokens[-1], ())


def said(runner: Runner, plans: Sequence[StepPlan]) -> dict[SequenceId, list[TokenId]]:
    told: dict[SequenceId, list[TokenId]] = {}
    for plan in plans:
        for sampled in runner.launch(plan).collect().sampled:
            told.setdefault(sampled.sequence, []).append(sampled.token)
    return told


def answers(runner: Runner, *joins: Join) -> dict[SequenceId, list[TokenId]]:
    rows = tuple(sequence for each in joins for sequence, _ in each.sequences)
    first, later = StepPlan(join=joins, decode=rows), StepPlan(decode=rows)
    told = said(runner, [first, *[later] * (ANSWER - 1)])
    runner.launch(StepPlan(release=rows)).collect()
    return told


def answer(seeing: Seeing, question: Question) -> list[TokenId]:
    """What a fresh runner says to a question: looked at and read at once."""
    runner = seeing.make()
    look(runner, question)
    read(runner, question)
    return answers(runner, join(question, ONE))[ONE]


def test_a_piece_at_a_time_is_the_same_as_all_at_once(seeing: Seeing, runner: Runner):
    """Each step says how many pieces it did and how many are left, and the answer does not depend on it."""
    question = seeing.question([1])
    told = look(runner, question, seconds=0.0)
    assert [each.pieces_done for each in told] == [1] * len(told)
    assert [each.pieces_left for each in told] == list(reversed(range(len(told))))
    assert len(told) >= 3, "a tower is looked through in blocks"
    read(runner, question)
    assert answers(runner, join(question, ONE))[ONE] == answer(seeing, question)


def test_a_picture_that_was_seen_has_nothing_left(seeing: Seeing, runner: Runner):
    """The step behind the last piece does no work and is told so."""
    question = seeing.question([1])
    look(runner, question)
    assert piece(runner, question, question.spans[0], 3) == Encoded(question.spans[0].digest, 0, 0)


def test_a_forgotten_picture_must_come_again(seeing: Seeing, runner: Runner):
    """In the middle of looking or after it: nothing of it is left, and once it came it is as at first."""
    question = seeing.question([1])
    span = question.spans[0]
    pieces = len(look(runner, question, seconds=0.0))
    runner.launch(StepPlan(forget=(span.digest,))).collect()
    with pytest.raises((RuntimeError, AssertionError), match="nothing was received"):
        piece(runner, question, span, 1)
    runner.receive(span.digest, question.prepared[span.digest].tensors)
    piece(runner, question, span, 1)
    runner.launch(StepPlan(forget=(span.digest,))).collect()
    assert len(look(runner, question, seconds=0.0)) == pieces
    read(runner, question)
    assert answers(runner, join(question, ONE))[ONE] == answer(seeing, question)


def test_two_pictures_do_not_mix(seeing: Seeing, runner: Runner):
    """Looked at in turns, read side by side, forgotten one before the other: each row has its own."""
    one, other = seeing.question([1]), seeing.question([3])
    for question in (one, other):
        span = question.spans[0]
        runner.receive(span.digest, question.prepared[span.digest].tensors)
    left = {ONE: 1, TWO: 1}
    while any(left.values()):
        for state, question in ((ONE, one), (TWO, other)):
            left[state] = piece(runner, question, question.spans[0], 0.0).pieces_left
    read(runner, one, ONE)
    runner.launch(StepPlan(forget=(one.spans[0].digest,))).collect()
    read(runner, other, TWO)
    alone = answer(seeing, one), answer(seeing, other)
    told = answers(runner, join(one, ONE)), answers(runner, join(other, TWO))
    assert (told[0][ONE], told[1][TWO]) == alone
    assert alone[0] != alone[1]


def test_the_order_of_pictures_is_that_of_the_prompt(seeing: Seeing, runner: Runner):
    """Whatever order they were looked at in."""
    question = seeing.question([1, 3])
    turned = Question(question.text, question.tokens, question.spans[::-1], question.prepared)
    look(runner, turned)
    read(runner, question)
    assert answers(runner, join(question, ONE))[ONE] == answer(seeing, question)
    assert answer(seeing, question) != answer(seeing, seeing.question([3, 1]))


def test_any_cut_of_a_picture_gives_the_same_answer(seeing: Seeing, runner: Runner):
    """Where it may be cut: at its first and its last token, in the middle, and token by token."""
    question = seeing.question([1, 3])
    first, second = question.spans
    end = len(question.tokens) - 1
    middle = (first.start + first.end) // 2
    cuts = [
        [first.start, first.end, second.start],
        [first.start + 1, second.end - 1],
        [middle, middle + 1, second.start + 2],
        list(range(1, end)),
    ]
    sight = runner.facts.sight
    if sight is not None and sight.whole_spans:
        cuts = cuts[:1]
    look(runner, question)
    wanted = answer(seeing, question)
    for each in cuts:
        read(runner, question, ONE, sorted({cut for cut in each if 0 < cut < end}))
        assert answers(runner, join(question, ONE))[ONE] == wanted


def test_a_state_can_be_dropped_in_the_middle_of_a_prompt(seeing: Seeing, runner: Runner):
    """The picture stays for whoever reads it next, who starts anew under the same id."""
    question = seeing.question([1])
    span = question.spans[0]
    look(runner, question)
    sight = runner.facts.sight
    cut = span.end if sight is None or sight.whole_spans else (span.start + span.end) // 2
    runner.launch(StepPlan(prefill=(chunk(ONE, question, 0, cut),))).collect()
    runner.launch(StepPlan(release=(ONE,))).collect()
    read(runner, question)
    assert answers(runner, join(question, ONE))[ONE] == answer(seeing, question)


def test_choices_of_one_prompt_share_what_was_seen(seeing: Seeing, runner: Runner):
    """A prompt read once and joined twice: both rows say what one says alone."""
    if not runner.facts.batchable:
        pytest.skip(f"rows do not share a step: {runner.facts.alone_because}")
    question = seeing.question([1])
    look(runner, question)
    read(runner, question)
    told = answers(runner, join(question, ONE, ONE, TWO))
    assert told[ONE] == told[TWO] == answer(seeing, question)


def test_parked_rows_go_on_as_if_they_had_never_left(seeing: Seeing, runner: Runner):
    """While they rest another picture is looked at, and theirs is forgotten."""
    question, other = seeing.question([1]), seeing.question([3])
    look(runner, question)
    read(runner, question)
    told = said(runner, [StepPlan(join=(join(question, ONE),), decode=(ONE,)), StepPlan(decode=(ONE,))])
    runner.launch(StepPlan(park=(ONE,), forget=(question.spans[0].digest,))).collect()
    look(runner, other, seconds=0.0)
    read(runner, other, TWO)
    assert answers(runner, join(other, TWO))[TWO] == answer(seeing, other)
    rest = said(runner, [StepPlan(resume=(ONE,), decode=(ONE,)), *[StepPlan(decode=(ONE,))] * (ANSWER - 3)])
    assert told[ONE] + rest[ONE] == answer(seeing, question)


def test_rows_speak_while_a_picture_is_looked_at(seeing: Seeing, runner: Runner):
    """A step that decodes and looks does both, and neither changes the other."""
    if not runner.facts.batchable:
        pytest.skip(f"rows do not share a step: {runner.facts.alone_because}")
    words, question = seeing.question([]), seeing.question([1])
    read(runner, words, TWO)
    span = question.spans[0]
    runner.receive(span.digest, question.prepared[span.digest].tensors)
    looks = StepPlan(decode=(TWO,), encode=Encode(span.digest, question.tokens[span.start : span.end], 1))
    told = said(runner, [StepPlan(join=(join(words, TWO),), decode=(TWO,)), *[looks] * (ANSWER - 1)])
    assert told[TWO] == answer(seeing, words)
    runner.launch(StepPlan(release=(TWO,))).collect()
    go_on(runner, question, span, 100)
    read(runner, question)
    assert answers(runner, join(question, ONE))[ONE] == answer(seeing, question)


def test_a_conversation_goes_on_behind_pictures_that_were_kept(seeing: Seeing, runner: Runner):
    """Nobody looks at them again: positions, windows and answers are those of a prompt read from the start.

    Both ways: behind the first picture, with the second one read anew, and behind the whole prompt and what
    was said to it.
    """
    question = seeing.question([1, 3])
    first, second = question.spans
    tips = any(layer.kind != "full" for layer in runner.facts.layers)
    look(runner, question)
    runner.launch(StepPlan(prefill=(chunk(ONE, question, 0, first.end),))).collect()
    early = Keep(SegmentId(1), ONE, 0, first.end, tip=tips)
    end = len(question.tokens) - 1
    runner.launch(StepPlan(keep=(early,), prefill=(chunk(ONE, question, first.end, end),))).collect()
    rows = StepPlan(decode=(ONE,))
    spoken = said(runner, [StepPlan(join=(join(question, ONE),), decode=(ONE,)), *[rows] * (ANSWER - 1)])[ONE]
    late = Keep(SegmentId(2), ONE, first.end, end + ANSWER, tip=tips)
    runner.launch(StepPlan(keep=(late,), release=(ONE,), forget=(first.digest,))).collect()

    again = Restore(TWO, ((SegmentId(1), first.end),))
    runner.launch(StepPlan(restore=(again,), prefill=(chunk(TWO, question, first.end, end),))).collect()
    assert answers(runner, join(question, TWO))[TWO] == spoken == answer(seeing, question)

    tokens = (*question.tokens, *spoken, *question.tokens[-3:])
    longer = Question("", tokens, question.spans, question.prepared)
    read_tokens = end + ANSWER
    go_on_there = Restore(THREE, ((SegmentId(1), first.end), (SegmentId(2), read_tokens - first.end)))
    rest = chunk(THREE, longer, read_tokens, len(tokens) - 1)
    runner.launch(StepPlan(forget=(second.digest,), restore=(go_on_there,), prefill=(rest,))).collect()
    assert answers(runner, join(longer, THREE))[THREE] == answer(seeing, longer)
