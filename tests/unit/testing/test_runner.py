"""The fake refuses what the port forbids: a check that never fires would prove nothing."""

import msgspec
import pytest

from allod.core.drafts import Draft, Guess
from allod.core.ids import SequenceId
from allod.core.sampling import Sampling
from allod.core.step import Join, MemoryReading, Prefill, StepPlan, StepResult
from allod.testing.contract import ContractViolation
from allod.testing.costs import FakeCosts
from allod.testing.models import TINY_DRAFT, tiny_facts
from allod.testing.runner import FakeRunner, FakeSpeech, expected_tokens

GREEDY = Sampling(temperature=0.0)
ONE, TWO = SequenceId(1), SequenceId(2)


def joins(
    *sequences: SequenceId, state: SequenceId = ONE, last: int = 3, sampling: Sampling = GREEDY
) -> Join:
    return Join(state, tuple((sequence, sampling) for sequence in sequences), last, ())


def step(runner: FakeRunner, **fields: object) -> StepResult:
    return runner.launch(StepPlan(**fields)).collect()  # pyright: ignore[reportArgumentType]


def prefilled() -> FakeRunner:
    runner = FakeRunner(tiny_facts())
    step(runner, prefill=(Prefill(ONE, (1, 2)),))
    return runner


def decoding() -> FakeRunner:
    runner = prefilled()
    step(runner, join=(joins(ONE),), decode=(ONE,))
    return runner


def test_a_row_says_what_is_expected_of_its_prompt():
    """The token function sees exactly prompt and answer, however they were fed."""
    runner = FakeRunner(tiny_facts())
    step(runner, prefill=(Prefill(ONE, (1,)),))
    step(runner, prefill=(Prefill(ONE, (2,)),))
    said = [step(runner, join=(joins(ONE, TWO),), decode=(ONE, TWO))]
    said += [step(runner, decode=(TWO, ONE)) for _ in range(3)]
    tokens = tuple(sampled.token for each in said for sampled in each.sampled if sampled.sequence == ONE)
    assert tokens == expected_tokens((1, 2, 3), GREEDY, vocabulary=97, max_tokens=4)


def test_history_seed_and_prompt_all_change_the_text():
    """Any wrong feeding shows."""
    texts = {
        expected_tokens(prompt, Sampling(seed=seed), vocabulary=97, max_tokens=6)
        for prompt in ((1, 2, 3), (1, 2, 4), (2, 1, 3), (1, 2), (1, 2, 3, 3))
        for seed in (1, 2)
    }
    assert len(texts) == 10


def test_expected_tokens_end_with_the_stop_token():
    """The stop token is part of what was said."""
    free = expected_tokens((1, 2), GREEDY, vocabulary=97, max_tokens=6)
    stop = free[3]
    cut = expected_tokens((1, 2), GREEDY, vocabulary=97, max_tokens=6, stop_tokens=(stop,))
    assert cut == free[: free.index(stop) + 1]


@pytest.mark.parametrize(
    "plan",
    [
        StepPlan(),
        StepPlan(release=(TWO,), decode=(ONE,)),
        StepPlan(release=(ONE, ONE)),
        StepPlan(decode=()),
        StepPlan(decode=(ONE, TWO)),
        StepPlan(decode=(ONE, ONE)),
        StepPlan(prefill=(Prefill(TWO, (1,)),)),
        StepPlan(decode=(ONE,), prefill=(Prefill(ONE, (1,)),)),
        StepPlan(decode=(ONE,), prefill=(Prefill(TWO, ()),)),
        StepPlan(decode=(ONE,), prefill=(Prefill(TWO, (1,)), Prefill(TWO, (2,)))),
        StepPlan(decode=(ONE,), prefill=(Prefill(TWO, (97,)),)),
        StepPlan(join=(joins(TWO, state=ONE),), decode=(ONE, TWO)),
        StepPlan(join=(joins(ONE, state=TWO),), decode=(ONE,)),
        StepPlan(join=(joins(state=TWO),), decode=(ONE,)),
        StepPlan(join=(joins(TWO, state=TWO, last=-1),), decode=(ONE, TWO)),
        StepPlan(join=(Join(TWO, ((TWO, GREEDY),), 3, (3,)),), decode=(ONE, TWO)),
        StepPlan(join=(joins(TWO, state=TWO, sampling=Sampling(presence_penalty=1.0)),), decode=(ONE, TWO)),
    ],
)
def test_a_plan_against_the_rules_is_a_violation(plan: StepPlan):
    """With row 1 decoding, each of these breaks one rule."""
    with pytest.raises(ContractViolation):
        decoding().launch(plan)


def test_a_consumed_or_released_state_does_not_join():
    """After its release a state is gone for good."""
    runner = prefilled()
    step(runner, release=(ONE,))
    with pytest.raises(ContractViolation, match="gone"):
        runner.launch(StepPlan(join=(joins(ONE),), decode=(ONE,)))


def test_two_flights_are_the_most_and_land_in_order():
    """Depth one: the flight before the last is collected first, once."""
    runner = prefilled()
    first = runner.launch(StepPlan(join=(joins(ONE),), decode=(ONE,)))
    second = runner.launch(StepPlan(decode=(ONE,)))
    with pytest.raises(ContractViolation, match="two flights"):
        runner.launch(StepPlan(decode=(ONE,)))
    with pytest.raises(ContractViolation, match="out of turn"):
        second.collect()
    first.collect()
    with pytest.raises(ContractViolation, match="twice"):
        first.collect()
    second.collect()


def test_rows_of_an_unbatchable_model_do_not_meet():
    """A second row is refused."""
    runner = FakeRunner(tiny_facts(batchable=False, alone_because="recurrent"))
    with pytest.raises(ContractViolation, match="share"):
        runner.launch(StepPlan(join=(joins(ONE, TWO),), decode=(ONE, TWO)))


def test_the_context_ends():
    """A row reads as many tokens as the context has, and no more."""
    runner = FakeRunner(tiny_facts(context_tokens=3))
    step(runner, prefill=(Prefill(ONE, (1, 2)),))
    step(runner, join=(joins(ONE),), decode=(ONE,))
    with pytest.raises(ContractViolation, match="has read 4 of 3"):
        runner.launch(StepPlan(decode=(ONE,)))


def test_bytes_are_counted_and_bounded():
    """Held bytes are weights and rounded state, rows padded to the longest; the budget is a wall."""
    runner = FakeRunner(tiny_facts(weights_bytes=1000, budget_bytes=1000 + 3 * 160))
    step(runner, prefill=(Prefill(ONE, (1, 2)),))
    assert runner.memory() == MemoryReading(active_bytes=1160, cached_bytes=0, peak_bytes=1160)
    step(runner, join=(joins(ONE, TWO),), decode=(ONE, TWO))
    assert runner.memory().active_bytes == 1320
    with pytest.raises(ContractViolation, match="out of memory"):
        runner.launch(StepPlan(decode=(ONE, TWO), prefill=(Prefill(SequenceId(3), (0,) * 17),)))


def test_transients_count_against_the_budget():
    """A chunk's activations have to fit beside what is held, and show in the peak."""
    runner = FakeRunner(
        tiny_facts(weights_bytes=0, budget_bytes=160 + 4 * 7, transient_bytes_per_token_and_context=1)
    )
    step(runner, prefill=(Prefill(ONE, (1, 2, 3)),))
    assert runner.memory().peak_bytes == 160 + 9
    step(runner, prefill=(Prefill(ONE, (1, 2, 3, 4)),))
    with pytest.raises(ContractViolation, match="out of memory"):
        runner.launch(StepPlan(prefill=(Prefill(ONE, (1, 2, 3)),)))


def test_speech_is_scripted_then_stops():
    """Script first, stop token from where it was asked for."""
    runner = FakeRunner(tiny_facts(), speech=FakeSpeech(script=(11, 12, 13), stop_after=2, stop_token=9))
    said = [step(runner, join=(joins(ONE),), decode=(ONE,)), step(runner, decode=(ONE,))]
    said.append(step(runner, decode=(ONE,)))
    assert [each.sampled[0].token for each in said] == [11, 12, 9]


def test_scores_come_when_asked_for():
    """None asks for none; a number asks for that many alternatives, the likeliest first."""
    runner = FakeRunner(tiny_facts())
    rows = ((ONE, GREEDY), (TWO, Sampling(top_logprobs=2)))
    one, two = step(runner, join=(Join(ONE, rows, 3, ()),), decode=(ONE, TWO)).sampled
    assert one.scores is None
    assert two.scores is not None
    assert two.scores.alternatives[0] == (two.token, two.scores.chosen)
    assert len(two.scores.alternatives) == 2


def test_seconds_are_simulated():
    """Costs are told, not spent."""
    runner = FakeRunner(tiny_facts(), costs=FakeCosts(decode_seconds=2.0, prefill_seconds_per_token=10.0))
    assert step(runner, prefill=(Prefill(ONE, (1, 2)),)).seconds == 20.0
    assert step(runner, join=(joins(ONE),), decode=(ONE,)).seconds == 2.0
    assert step(runner, release=(ONE,)).seconds == 0.0
    assert (runner.rows, runner.states) == ((), ())


def parked() -> FakeRunner:
    runner = decoding()
    step(runner, park=(ONE,))
    return runner


def test_a_parked_row_keeps_what_it_read():
    """Out of the batch and back, it says what it would have said."""
    runner = parked()
    assert (runner.rows, runner.parked) == ((), (ONE,))
    token = step(runner, resume=(ONE,), decode=(ONE,)).sampled[0].token
    assert token == expected_tokens((1, 2, 3), GREEDY, vocabulary=97, max_tokens=2)[1]


@pytest.mark.parametrize(
    "plan",
    [
        StepPlan(park=(ONE,)),
        StepPlan(resume=(TWO,), decode=(TWO,)),
        StepPlan(decode=(ONE,)),
        StepPlan(resume=(ONE,)),
        StepPlan(prefill=(Prefill(ONE, (1,)),)),
        StepPlan(join=(joins(ONE, state=TWO),), decode=(ONE,)),
        StepPlan(
            join=(Join(TWO, ((TWO, GREEDY), (SequenceId(3), GREEDY)), 3, (), said=(3,)),), decode=(TWO,)
        ),
    ],
)
def test_a_plan_against_the_rules_of_parking_is_a_violation(plan: StepPlan):
    """With row 1 parked, each of these breaks one rule."""
    with pytest.raises(ContractViolation):
        parked().launch(plan)


def test_a_released_row_starts_anew_only_from_a_prompt():
    """Its id may be read again with what it said; joining what is gone is a mistake still."""
    runner = parked()
    step(runner, release=(ONE,))
    with pytest.raises(ContractViolation, match="gone"):
        runner.launch(StepPlan(join=(joins(ONE),), decode=(ONE,)))
    first, second = expected_tokens((1, 2, 3), GREEDY, vocabulary=97, max_tokens=2)
    step(runner, prefill=(Prefill(ONE, (1, 2, 3)),))
    again = Join(ONE, ((ONE, GREEDY),), first, (), said=(first,))
    assert step(runner, join=(again,), decode=(ONE,)).sampled[0].token == second


def guess(start: int = 0, tokens: tuple[int, ...] = (1, 2, 3), length: int = 1) -> Guess:
    return Guess(ONE, start, tokens, length)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (StepPlan(decode=(ONE,), guess=guess(tokens=(1, 2))), "before it has read"),
        (StepPlan(decode=(ONE,), guess=guess(tokens=(1, 2, 4))), "has not"),
        (StepPlan(decode=(ONE,), guess=guess(tokens=(1, 2, 3, 4), length=0)), "has not"),
        (StepPlan(decode=(ONE,), guess=guess(start=1, tokens=(2, 3))), "nothing was read"),
        (StepPlan(decode=(ONE,), guess=guess(), prefill=(Prefill(TWO, (1,)),)), "no prompt"),
        (StepPlan(decode=(ONE,), guess=guess(), drafts=(Draft(ONE, (1,)),)), "one draft"),
        (StepPlan(decode=(ONE,), guess=guess(length=30)), "too short"),
    ],
)
def test_a_guess_against_the_rules_is_a_violation(plan: StepPlan, words: str):
    """With row 1 decoding behind three tokens, each of these breaks one rule."""
    draft = msgspec.structs.replace(TINY_DRAFT, context_tokens=32)
    runner = FakeRunner(tiny_facts(draft=draft))
    step(runner, prefill=(Prefill(ONE, (1, 2)),))
    step(runner, join=(joins(ONE),), decode=(ONE,))
    with pytest.raises(ContractViolation, match=words):
        runner.launch(plan)


def drafts(*named: tuple[SequenceId, tuple[int, ...]]) -> tuple[Draft, ...]:
    return tuple(Draft(sequence, tokens) for sequence, tokens in named)


@pytest.mark.parametrize(
    ("plan", "reads_beside", "words"),
    [
        (StepPlan(decode=(ONE, TWO), drafts=drafts((ONE, (1,)), (ONE, (2,)))), True, "one draft"),
        (StepPlan(decode=(ONE, TWO), drafts=drafts((ONE, (1,)), (TWO, ()))), True, "one token or more"),
        (StepPlan(decode=(ONE, TWO), drafts=drafts((SequenceId(9), (1,)))), True, "of a row"),
        (StepPlan(decode=(ONE, TWO), drafts=drafts((ONE, (97,)))), True, "vocabulary"),
        (StepPlan(decode=(ONE, TWO), drafts=drafts((ONE, (1,)))), False, "each by itself"),
    ],
)
def test_drafts_against_the_rules_are_a_violation(plan: StepPlan, words: str, *, reads_beside: bool):
    """With two rows that decode, each of these breaks one rule."""
    runner = FakeRunner(tiny_facts(reads_beside=reads_beside))
    step(runner, prefill=(Prefill(ONE, (1, 2)), Prefill(TWO, (3, 4))))
    step(runner, join=(joins(ONE), joins(TWO, state=TWO)), decode=(ONE, TWO))
    with pytest.raises(ContractViolation, match=words):
        runner.launch(plan)


def test_without_a_draft_model_nothing_is_guessed():
    """Nor is anything read for it."""
    with pytest.raises(ContractViolation, match="no draft model"):
        decoding().launch(StepPlan(decode=(ONE,), guess=guess(length=0)))
