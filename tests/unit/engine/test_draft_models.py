"""Guesses of a draft model: the same text, faster where that was measured, and nearly free where not."""

from itertools import groupby

import msgspec
import pytest
from tests.scaffolding.drafting_house import House, told

from allod.core.ids import SequenceId
from allod.core.messages import Submit
from allod.core.sampling import Sampling
from allod.core.step import LayerState, ModelFacts, StepPlan
from allod.testing.costs import FakeCosts
from allod.testing.models import TINY_DRAFT, submission, tiny_facts
from allod.testing.runner import expected_tokens

CHEAP = FakeCosts(decode_seconds=0.01, prefill_seconds_per_token=0.0001)
DEAR = FakeCosts(decode_seconds=0.01, prefill_seconds_per_token=0.001, guess_seconds_per_token=0.006)
PROSE = ()
"""Rows say hashes, which never repeat."""

SUBMIT = submission(max_tokens=400, prompt=100)


def paired(misses_every: int | None = None, costs: FakeCosts = CHEAP, **changes: float) -> House:
    """A house whose model has a draft model that takes what the costs say."""
    draft = msgspec.structs.replace(
        TINY_DRAFT,
        saying_seconds=costs.guess_seconds_per_token,
        reading_seconds_per_token=costs.prefill_seconds_per_token / 10,
    )
    return House(PROSE, costs, facts={"draft": draft, **changes}, misses_every=misses_every)


def alone(costs: FakeCosts = CHEAP) -> House:
    return House(PROSE, costs)


def expected(max_tokens: int = 400, prompt: int = 100) -> list[int]:
    submit = submission(prompt=prompt)
    return list(expected_tokens(submit.tokens, submit.samplings[0], vocabulary=97, max_tokens=max_tokens))


@pytest.mark.parametrize("misses_every", [None, 2, 3, 4, 5, 8, 9, 1])
def test_text_is_that_of_plain_steps(misses_every: int | None) -> None:
    """However often the draft model errs."""
    house = paired(misses_every)
    assert told(house, max_tokens=400, tokens=SUBMIT.tokens) == expected()
    assert house.guesses
    assert not house.drafts
    assert not house.runner.rows


def test_prose_is_said_in_fewer_steps_and_sooner() -> None:
    """With a draft model that is a tenth of the model and right nine times of ten."""
    house, plain = paired(10), alone()
    assert told(house, max_tokens=400, tokens=SUBMIT.tokens) == told(
        plain, max_tokens=400, tokens=SUBMIT.tokens
    )
    assert house.seconds < plain.seconds / 2
    guessed, accepted = house.scheduler.occupancy().guessed
    assert guessed > accepted > 0.5 * guessed
    assert house.scheduler.occupancy().looked_up == (0, 0)


def test_the_longest_guess_is_made_where_all_are_right() -> None:
    """Lengths follow what was accepted."""
    house = paired(None)
    told(house, max_tokens=400)
    assert house.guesses[-2].drafted_tokens == 15


@pytest.mark.parametrize("costs", [CHEAP, DEAR, FakeCosts(0.01, 0.0005, guess_seconds_per_token=0.003)])
@pytest.mark.parametrize("misses_every", [1, 2, 3, 5, 9])
def test_a_draft_model_that_errs_costs_little(costs: FakeCosts, misses_every: int) -> None:
    """After some answers no more than a fiftieth of the time is lost, the reading of prompts included."""
    house, plain = paired(misses_every, costs), alone(costs)
    for each in (house, plain):
        for first in range(0, 4000, 1000):
            each.scheduler.submit(submission(first=first, max_tokens=250, prompt=100), 0.0)
            each.run()
    assert house.said == plain.said
    assert house.seconds < 1.02 * plain.seconds


def test_among_many_guesses_some_steps_are_plain() -> None:
    """What they take is known still when all that a row says was guessed for long."""
    draft = msgspec.structs.replace(TINY_DRAFT, context_tokens=10**4)
    house = House(PROSE, CHEAP, facts={"draft": draft, "context_tokens": 10**4})
    told(house, max_tokens=3500)
    lasted = [
        len(list(run))
        for guessed, run in groupby(house.plans, lambda plan: plan.drafted_tokens > 0)
        if guessed
    ]
    assert max(lasted) == 64


def test_one_as_large_as_its_model_is_not_even_asked() -> None:
    """What saying a token takes was measured at load: no prompt is read for what cannot pay."""
    costs = FakeCosts(decode_seconds=0.01, guess_seconds_per_token=0.01)
    house = paired(None, costs)
    told(house, max_tokens=400)
    assert not any(plan.guess for plan in house.plans)


def test_a_long_prompt_is_read_in_pieces_beside_the_steps() -> None:
    """No token waits longer than for a prompt's chunk, and the row goes on meanwhile."""
    house = paired(None, chunk_tokens=512, chunk_seconds=512 * CHEAP.prefill_seconds_per_token)
    prompt = submission(prompt=3900).tokens
    assert told(house, tokens=prompt, max_tokens=100) == expected(100, 3900)
    reading = [plan for plan in house.plans if plan.guess and not plan.guess.length]
    assert len(reading) > 1
    for plan in reading:
        assert plan.decode
        assert plan.guess is not None
        assert house.costs.seconds(plan, None) < 0.25
    read = [token for plan in house.plans if plan.guess for token in plan.guess.tokens]
    assert read[: len(prompt) - 1] == list(prompt[:-1])
    assert house.guesses


def test_a_prompt_is_read_only_for_an_answer_that_lasts() -> None:
    """What reading takes must be believed to be won back: answers go on for as long as they have lasted."""
    slow = FakeCosts(decode_seconds=0.001, prefill_seconds_per_token=0.0001, guess_seconds_per_token=0.0001)
    house = paired(None, slow)
    told(house, tokens=submission(prompt=3500).tokens, max_tokens=500)
    first = next(number for number, plan in enumerate(house.plans) if plan.guess)
    before = sum(len(plan.decode) for plan in house.plans[:first])
    # 3500 tokens take 35 ms to read, and each token that is said saves less than 0.8.
    assert 40 < before < 100


def test_lookup_comes_first_where_it_runs() -> None:
    """It is free; the draft model reads behind what it brought."""
    loop = (7, 8, 9, 10, 11, 12, 13) * 20
    house = paired(3)
    house = House(loop, CHEAP, facts=house.facts, misses_every=3)
    assert told(house, max_tokens=200)[: len(loop)] == list(loop)
    assert house.drafts
    assert house.guesses
    assert all(plan.guess is None for plan in house.drafts)
    looked_up, guessed = house.scheduler.occupancy().looked_up, house.scheduler.occupancy().guessed
    assert 0 < looked_up[1] <= looked_up[0]
    assert 0 < guessed[1] <= guessed[0]


def interrupted(first: Submit) -> tuple[House, list[StepPlan]]:
    """A row that was guessed for when another came; all plans from then on."""
    house = paired(None)
    house.scheduler.submit(first, 0.0)
    for _ in range(12):
        house.turn()
    assert house.guesses
    count = len(house.plans)
    house.scheduler.submit(submission(first=50, max_tokens=30), 0.0)
    house.run()
    return house, house.plans[count:]


def test_a_row_beside_others_gets_no_guesses() -> None:
    """Also none is read for; alone again, the row goes on where it was read to."""
    house, plans = interrupted(submission(max_tokens=300, prompt=60))
    shared = [plan for plan in plans if len(plan.decode) > 1 or plan.prefill]
    assert len(shared) > 20
    assert not any(plan.guess for plan in shared)
    later = [plan.guess for plan in plans if plan.guess]
    assert later
    assert all(guess.start for guess in later)
    assert house.said[SequenceId(0)] == expected(300, 60)


@pytest.mark.parametrize("after", range(0, 30, 2))
def test_a_newcomer_or_a_leaver_at_any_moment_changes_no_text(after: int) -> None:
    """Whoever comes while a guess flies waits for it and no longer; whoever leaves is released."""
    house = paired(4)
    house.scheduler.submit(submission(max_tokens=150, prompt=40), 0.0)
    for _ in range(after):
        house.turn()
    newcomer = submission(first=10, max_tokens=40)
    house.scheduler.submit(newcomer, 0.0)
    for _ in range(after // 2):
        house.turn()
    house.scheduler.cancel((SequenceId(0),))
    house.run()
    sampling = Sampling(temperature=0.0)
    assert house.said[SequenceId(10)] == list(
        expected_tokens(newcomer.tokens, sampling, vocabulary=97, max_tokens=40)
    )
    assert house.runner.memory().active_bytes == house.runner.kept_bytes + 1000


def test_batch_work_that_was_parked_is_guessed_anew() -> None:
    """A parked row keeps nothing of its draft model's: the bytes are the newcomer's."""
    house, plans = interrupted(submission(max_tokens=200, prompt=40, batch=True))
    starts = [plan.guess.start for plan in plans if plan.guess and plan.guess.sequence == SequenceId(0)]
    assert starts[0] == 0
    assert house.said[SequenceId(0)] == expected(200, 40)


@pytest.mark.parametrize("max_tokens", range(2, 30))
def test_a_guess_never_runs_over_the_limit(max_tokens: int) -> None:
    """However long the answer may be, it is that long."""
    assert told(paired(None), max_tokens=max_tokens, tokens=SUBMIT.tokens) == expected(max_tokens)


def test_a_row_outgrows_the_draft_models_context() -> None:
    """From there on it goes on alone."""
    draft = msgspec.structs.replace(TINY_DRAFT, context_tokens=160)
    house = House(PROSE, CHEAP, facts={"draft": draft})
    assert told(house, max_tokens=200, tokens=SUBMIT.tokens) == expected(200)
    assert house.guesses
    assert all(plan.guess is None for plan in house.plans[-100:])


@pytest.mark.parametrize(
    "sampling",
    [Sampling(temperature=0.0, repetition_penalty=1.1), Sampling(temperature=0.0, top_logprobs=2)],
)
def test_rows_that_look_back_get_none(sampling: Sampling) -> None:
    """For them it reads no prompt either."""
    house = paired(None)
    told(house, samplings=(sampling,))
    assert not any(plan.guess for plan in house.plans)


@pytest.mark.parametrize("changes", [{"undrafted_because": "it slides"}, {"draft": None}])
def test_what_cannot_take_back_or_is_not_paired_gets_none(changes: dict[str, object]) -> None:
    """As `off` does."""
    house = House(PROSE, CHEAP, facts={"draft": TINY_DRAFT, **changes})
    told(house)
    assert not any(plan.guess for plan in house.plans)


def test_off_is_off() -> None:
    """The owner's word counts for guesses too."""
    house = House(PROSE, CHEAP, "off", facts={"draft": TINY_DRAFT})
    told(house)
    assert not any(plan.guess for plan in house.plans)


def tight(budget_bytes: int) -> ModelFacts:
    draft = msgspec.structs.replace(
        TINY_DRAFT,
        layers=(LayerState("full", 1, bytes_per_token=6, fixed_bytes=0, window_tokens=None),),
        transient_bytes_per_token=7,
    )
    return tiny_facts(weights_bytes=1100, budget_bytes=budget_bytes, draft=draft, capacity_step_tokens=1)


def test_a_draft_models_row_is_admitted_with_its_row() -> None:
    """A request that fits without is refused or waits where its draft model's state would not fit."""
    from_bytes = 1100 + 50 * 10 + 50 * 6 + 50 * 7
    for budget_bytes, fits in ((from_bytes, True), (from_bytes - 1, False)):
        facts = tight(budget_bytes)
        changes = {name: getattr(facts, name) for name in facts.__struct_fields__}
        house = House(PROSE, CHEAP, facts=changes)
        answer = house.scheduler.submit(submission(prompt=20, max_tokens=30), 0.0)
        assert (type(answer).__name__ == "Admitted") == fits
        house.run()
