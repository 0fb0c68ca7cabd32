"""What every Runner keeps that takes drafts of several rows: each says what it says alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.test_runner_contract import (
    ALLOCATOR_BYTES,
    BOUNDS,
    GREEDY,
    LONG,
    SEEDED,
    SHORT,
    Factory,
    ids,
    join,
    mlx_runner,
    prefill,
    said,
    steps,
)
from tests.scaffolding.memory import held_bytes

from allod.core.drafts import Draft
from allod.core.ids import SegmentId, SequenceId, TokenId
from allod.core.ports import Runner
from allod.core.sampling import Sampling
from allod.core.step import Join, Keep, Prefill, Restore, StepPlan
from allod.testing.models import tiny_facts
from allod.testing.runner import FakeRunner

ANSWER = 48

RUNNERS: dict[str, Factory] = {
    "fake": lambda: FakeRunner(tiny_facts(reads_beside=True, group_bounds_tokens=BOUNDS)),
    "mlx, llama": partial(mlx_runner, "llama", groups=True),
    "mlx, experts": partial(mlx_runner, "qwen3_moe", groups=True),
}

PENALISED = Sampling(temperature=0.0, presence_penalty=0.7)
SCORED = Sampling(temperature=0.0, top_logprobs=2)
PROMPTS = {1: LONG, 2: SHORT, 3: (*LONG[5:30], 8), 4: LONG[3:35], 5: SHORT[1:]}
"""Of each group that rows are padded in there are two or one."""
SAMPLINGS = {1: GREEDY, 2: SEEDED, 3: GREEDY, 4: GREEDY, 5: SEEDED}

LENGTHS = st.tuples(st.integers(1, 7), st.integers(0, 7))
"""Of a draft, and of what is right of it."""


@pytest.fixture(params=RUNNERS.values(), ids=list(RUNNERS))
def make_runner(request: pytest.FixtureRequest) -> Factory:
    return request.param


@pytest.fixture
def runner(make_runner: Factory) -> Runner:
    made = make_runner()
    assert made.facts.reads_beside
    assert not made.facts.undrafted_because
    return made


@cache
def alone(make: Factory, prompt: tuple[TokenId, ...], sampling: Sampling) -> list[TokenId]:
    """What a row says that no other is beside, without drafts."""
    runner = make()
    prefill(runner, 1, prompt)
    return said(steps(runner, ids(1), ANSWER, join(1, prompt, (1, sampling))), 1)


class Rows:
    """Rows of a runner, what each will have said, and what it has."""

    def __init__(self, make: Factory, runner: Runner) -> None:
        self.make, self.runner = make, runner
        self.due: dict[int, list[TokenId]] = {}
        self.said: dict[int, list[TokenId]] = {}

    @property
    def sequences(self) -> tuple[SequenceId, ...]:
        return ids(*self.due)

    @property
    def most_said(self) -> int:
        return max(len(tokens) for tokens in self.said.values())

    def add(self, *numbers: int, sampling: Sampling | None = None) -> None:
        """Let rows join, which say their first tokens in this step."""
        joins: list[Join] = []
        arriving: dict[int, list[TokenId]] = {}
        for number in numbers:
            prompt, wanted = PROMPTS[number], sampling or SAMPLINGS[number]
            chunk = Prefill(SequenceId(number), tuple(prompt[:-1]))
            self.take(StepPlan(prefill=(chunk,), decode=self.sequences))
            joins.append(join(number, prompt, (number, wanted)))
            arriving[number] = alone(self.make, prompt, wanted)
        self.due |= arriving
        self.said |= {number: [] for number in arriving}
        self.take(StepPlan(join=tuple(joins), decode=self.sequences))

    def plain(self, count: int = 1) -> None:
        """Steps without drafts."""
        for _ in range(count):
            self.take(StepPlan(decode=self.sequences))

    def drafted(self, lengths: Mapping[int, tuple[int, int]]) -> None:
        """A step in which rows read drafts so long, of which so many tokens are right."""
        before = {number: len(tokens) for number, tokens in self.said.items()}
        drafts: list[Draft] = []
        for number, (length, right) in lengths.items():
            coming = self.due[number][before[number] : before[number] + min(length, right)]
            wrong = [(token + 1) % 80 + 1 for token in self.due[number][before[number] + len(coming) :]]
            draft = [*coming, *wrong, *([1] * length)][:length]
            drafts.append(Draft(SequenceId(number), tuple(draft)))
        self.take(StepPlan(decode=self.sequences, drafts=tuple(drafts)))
        for number, tokens in self.said.items():
            length, right = lengths.get(number, (0, 0))
            assert len(tokens) == before[number] + min(length, right) + 1

    def take(self, plan: StepPlan) -> None:
        result = self.runner.launch(plan).collect()
        order = [each.sequence for each in result.sampled]
        assert tuple(dict.fromkeys(order)) == plan.decode
        assert order == sorted(order, key=plan.decode.index)
        for number in self.said:
            self.said[number] += said([result], number)
            assert self.said[number] == self.due[number][: len(self.said[number])]

    def release(self, number: int) -> None:
        """Let one go, and the others say one more."""
        del self.due[number], self.said[number]
        self.take(StepPlan(release=ids(number), decode=self.sequences))


@pytest.fixture
def rows(make_runner: Factory, runner: Runner) -> Rows:
    return Rows(make_runner, runner)


@pytest.mark.parametrize("right", [0, 1, 3])
@pytest.mark.parametrize("drafted", [(1,), (1, 3), (2, 5), (1, 2, 3, 4, 5)])
def test_drafts_change_nothing_that_is_said(rows: Rows, drafted: Sequence[int], right: int) -> None:
    """Rows with and without, of unlike lengths, greedy and with seeds, and they go on so."""
    rows.add(*PROMPTS)
    rows.drafted(dict.fromkeys(drafted, (3, right)))
    rows.plain()
    rows.drafted({number: (number, right) for number in drafted})
    rows.plain(2)


@given(data=st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_drafts_in_any_order(make_runner: Factory, data: st.DataObject) -> None:
    """Rows come and go between steps with drafts of any length, right for as long as it happens."""
    rows = Rows(make_runner, make_runner())
    waiting = [1, 2, 3, 4, 5]
    rows.add(waiting.pop(), waiting.pop())
    for _ in range(data.draw(st.integers(2, 8))):
        match data.draw(st.sampled_from(["draft", "draft", "draft", "plain", "come", "go"])):
            case "come" if waiting:
                rows.add(waiting.pop(data.draw(st.integers(0, len(waiting) - 1))))
            case "go" if len(rows.due) > 2:
                rows.release(data.draw(st.sampled_from(sorted(rows.due))))
            case "plain":
                rows.plain(data.draw(st.sampled_from([1, 1, 2, 9])))
            case _:
                some = st.dictionaries(st.sampled_from(sorted(rows.due)), LENGTHS, min_size=1)
                room = ANSWER - rows.most_said - 1
                if room > 7:
                    rows.drafted(data.draw(some))
        if rows.most_said > ANSWER - 10:
            break


def test_a_row_that_was_drafted_long_ago_is_padded_with_others_again(rows: Rows) -> None:
    """Rows stand apart while they read drafts; later, and when they draft again, they say the same."""
    rows.add(1, 3, 4)
    rows.drafted({1: (3, 2), 4: (2, 2)})
    rows.plain(12)
    rows.drafted({1: (1, 1)})
    rows.plain(6)
    rows.drafted({1: (1, 0)})
    rows.plain(12)
    rows.drafted({1: (2, 2), 3: (3, 1)})
    rows.plain()


@pytest.mark.parametrize("sampling", [PENALISED, SCORED], ids=["penalties", "scores"])
def test_rows_that_can_have_none_decode_beside(rows: Rows, sampling: Sampling) -> None:
    """What a row counts, and what it tells of a token, is of its own tokens alone."""
    rows.add(1, 3)
    rows.add(4, sampling=sampling)
    for right in (2, 0, 3):
        rows.drafted({1: (3, right), 3: (4, right)})
    rows.plain(2)


def test_a_grammar_is_followed_beside_drafts(runner: Runner, make_runner: Factory) -> None:
    """One whose grammar reads each token of its row reads those, and no other row's."""
    grammar = 'start: "a" /[b-d]{40}/'
    bound = replace(join(2, SHORT, (2, GREEDY)), grammar=grammar, stop_tokens=(0,))
    prefill(runner, 2, SHORT)
    expected = said(steps(runner, ids(2), 8, bound), 2)
    runner.launch(StepPlan(release=ids(2))).collect()
    prefill(runner, 1, LONG)
    prefill(runner, 2, SHORT)
    tokens = alone(make_runner, LONG, GREEDY)
    results = steps(runner, ids(1, 2), 1, join(1, LONG, (1, GREEDY)), bound)
    for _ in range(7):
        at = len(said(results, 1))
        draft = Draft(SequenceId(1), tuple(tokens[at : at + 2]))
        results.append(runner.launch(StepPlan(decode=ids(1, 2), drafts=(draft,))).collect())
    assert said(results, 2) == expected
    assert said(results, 1) == tokens[:22]


def test_what_drafted_rows_read_can_be_kept(rows: Rows) -> None:
    """Positions that were taken back leave no trace in what is kept of a row."""
    rows.add(1, 3)
    rows.drafted({1: (4, 1), 3: (2, 2)})
    read = (*LONG, *rows.said[1][:-1])
    rows.take(StepPlan(keep=(Keep(SegmentId(1), SequenceId(1), 0, len(read)),), decode=rows.sequences))
    restore = Restore(SequenceId(9), ((SegmentId(1), len(read)),))
    going_on = (*read, alone(rows.make, LONG, GREEDY)[len(read) - len(LONG)])
    joining = join(9, going_on, (9, GREEDY))
    result = rows.runner.launch(
        StepPlan(restore=(restore,), join=(joining,), decode=(*rows.sequences, SequenceId(9)))
    ).collect()
    assert said([result], 9) == alone(rows.make, LONG, GREEDY)[len(going_on) - len(LONG) :][:1]


def test_rows_that_stood_apart_may_be_parked(rows: Rows) -> None:
    """They come back as they were."""
    rows.add(1, 3, 4)
    rows.drafted({1: (3, 1), 3: (3, 3)})
    rows.runner.launch(StepPlan(park=ids(1, 3, 4))).collect()
    rows.take(StepPlan(resume=ids(1, 3, 4), decode=rows.sequences))
    rows.drafted({1: (3, 3), 4: (3, 0)})
    rows.plain()


def test_no_byte_stays(runner: Runner, make_runner: Factory) -> None:
    """What rows that stood apart held is gone with them."""
    before = held_bytes(runner)
    for _ in range(2):
        rows = Rows(make_runner, runner)
        rows.add(1, 3, 4)
        rows.drafted({1: (3, 1), 3: (7, 7), 4: (1, 0)})
        rows.plain(2)
        runner.launch(StepPlan(release=rows.sequences)).collect()
        after = held_bytes(runner)
        assert after <= before + ALLOCATOR_BYTES
