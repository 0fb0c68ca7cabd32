"""Drafts: only where they pay, and never another text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scaffolding.drafting_house import House, told

from allod.core.drafts import STEPS_APART
from allod.core.ids import SequenceId
from allod.core.messages import Submit
from allod.core.sampling import Sampling
from allod.core.step import Encoded, StepPlan
from allod.testing.costs import FakeCosts
from allod.testing.models import submission

PERIOD = (7, 8, 9, 10, 11, 12, 13)
LOOP = PERIOD * 40
DEAR = FakeCosts(decode_seconds=0.01, prefill_seconds_per_token=0.02)


def test_what_repeats_is_said_in_fewer_steps_and_is_the_same() -> None:
    """Where drafts are cheap and right, several tokens come in a step; they are those of plain steps."""
    drafting, plain = House(LOOP), House(LOOP, speculation="off")
    assert told(drafting) == told(plain) == list(LOOP[:200])
    assert not plain.drafts
    assert len(drafting.plans) < len(plain.plans) / 3
    assert drafting.seconds < plain.seconds / 3


def test_drafts_that_cost_more_than_they_bring_are_given_up() -> None:
    """On a device where each token of a draft costs as much as a step, little is lost."""
    drafting, plain = House(LOOP, DEAR), House(LOOP, DEAR, speculation="off")
    assert told(drafting) == told(plain)
    assert 1 <= len(drafting.drafts) <= 3
    # Each length is tried once.
    assert drafting.seconds - plain.seconds <= 3 * 0.01 + sum((3, 7, 15)) * 0.02


@given(st.lists(st.integers(1, 3), min_size=60, max_size=200))
def test_text_that_only_seems_to_repeat_loses_little(text: list[int]) -> None:
    """Drafts that are wrong rest ever longer: a tenth more steps at most, beside the first tries."""
    costs = FakeCosts(decode_seconds=0.01, prefill_seconds_per_token=0.002)
    drafting, plain = House(tuple(text), costs), House(tuple(text), costs, speculation="off")
    count = len(text)
    assert told(drafting, max_tokens=count) == told(plain, max_tokens=count) == text
    assert drafting.seconds <= 1.1 * plain.seconds + 0.2


def test_a_stop_within_a_draft_ends_the_answer() -> None:
    """What was drafted behind the end is dropped, and the row is released."""
    speech = (*PERIOD, 20, *PERIOD, 20, *PERIOD, 20, *PERIOD, 30)
    house = House(speech)
    said = told(house, stop_tokens=(30,), tokens=(*PERIOD, 20, *PERIOD, 30, 1))
    assert said == list(speech)
    assert house.drafts
    assert not house.runner.rows


@pytest.mark.parametrize("max_tokens", range(15, 40))
def test_a_draft_never_runs_over_the_limit(max_tokens: int) -> None:
    """However long the answer may be, it is that long."""
    assert told(House(LOOP), max_tokens=max_tokens) == list(LOOP[:max_tokens])


def test_only_a_row_alone_is_given_drafts() -> None:
    """Beside another row steps are shared, and a newcomer's prompt is read at once."""
    house = House(LOOP)
    house.scheduler.submit(submission(max_tokens=150), 0.0)
    house.scheduler.submit(submission(first=10, max_tokens=60), 0.0)
    house.run()
    assert house.drafts
    assert all(len(plan.decode) == 1 and not plan.prefill for plan in house.drafts)
    first_draft = house.plans.index(house.drafts[0])
    assert all(len(plan.decode) < 2 for plan in house.plans[first_draft:])
    assert house.said[SequenceId(0)] == list(LOOP[:150])
    assert house.said[SequenceId(10)] == list(LOOP[:60])


def come_and_go(house: House, after: int, newcomer: Submit, *, leaver: int) -> None:
    """Turn so often, let somebody come, turn half as often, let somebody leave, and go on to the end."""
    for _ in range(after):
        house.turn()
    house.scheduler.submit(newcomer, 0.0)
    for _ in range(after // 2):
        house.turn()
    house.scheduler.cancel((SequenceId(leaver),))
    house.run()


@pytest.mark.parametrize("after", range(0, 40, 3))
def test_a_newcomer_or_a_leaver_at_any_moment_changes_no_text(after: int) -> None:
    """Whoever comes while a draft flies waits for it and no longer; whoever leaves is released."""
    house = House(LOOP)
    house.scheduler.submit(submission(max_tokens=150), 0.0)
    come_and_go(house, after, submission(first=10, max_tokens=20), leaver=0)
    assert house.said[SequenceId(10)] == list(LOOP[:20])
    assert house.said.get(SequenceId(0), []) == list(LOOP[: len(house.said.get(SequenceId(0), []))])
    assert not house.runner.rows


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.0, repetition_penalty=1.1),
        Sampling(temperature=0.0, presence_penalty=0.5),
        Sampling(temperature=0.0, top_logprobs=2),
    ],
)
def test_rows_that_look_back_get_none(sampling: Sampling) -> None:
    """Penalties would have to be taken back with what is not accepted; scores are not made for drafts."""
    house = House(LOOP)
    assert told(house, samplings=(sampling,)) == list(LOOP[:200])
    assert not house.drafts


def test_a_model_whose_states_keep_everything_gets_none() -> None:
    """What a window or a recurrent state took in cannot be taken back."""
    house = House(LOOP, facts={"undrafted_because": "it slides"})
    assert told(house) == list(LOOP[:200])
    assert not house.drafts


def test_what_a_draft_cost_is_forgotten_in_time() -> None:
    """A first draft that waited for a compiler does not end drafts for good."""
    house = House(PERIOD * 500, DEAR, facts={"context_tokens": 10**4})
    house.scheduler.submit(submission(max_tokens=3000), 0.0)
    house.run(10**4)
    assert len(house.drafts) > 3


TOGETHER: dict[str, object] = {"reads_beside": True}


def house_of(*requests: Mapping[str, object], **more: Any) -> House:
    """Some that ask at once, where drafts of several rows share a pass."""
    house = House(LOOP, **{"facts": TOGETHER, **more})
    for place, request in enumerate(requests):
        house.scheduler.submit(submission(**{"first": 10 * place, "max_tokens": 100, **request}), 0.0)
    return house


@pytest.mark.parametrize("rows", [2, 5])
def test_rows_that_decode_together_are_given_drafts_in_one_step(rows: int) -> None:
    """Each is given its own; they say what they would have said, in fewer steps."""
    drafting, plain = house_of(*[{}] * rows), house_of(*[{}] * rows, speculation="off")
    drafting.run()
    plain.run()
    assert drafting.said == plain.said
    assert any(len(plan.drafts) == rows for plan in drafting.drafts)
    assert len(drafting.plans) < len(plain.plans) / 2


@pytest.mark.parametrize("after", range(0, 40, 3))
def test_who_comes_or_goes_among_several_changes_no_text(after: int) -> None:
    """A newcomer waits for the drafts that fly and no longer; who leaves with one on its way is released."""
    house = house_of({}, {}, {})
    come_and_go(house, after, submission(first=50, max_tokens=60), leaver=10)
    for sequence, said in house.said.items():
        count = 60 if sequence == 50 else 100
        assert said == list(LOOP[: count if sequence != 10 else len(said)])
    assert house.drafts
    assert not house.runner.rows


def test_a_row_that_can_have_none_decodes_beside_drafts() -> None:
    """One with penalties says a token a step; the others say more."""
    house = house_of({}, {"samplings": (Sampling(temperature=0.0, presence_penalty=0.5),)})
    house.run()
    assert {draft.sequence for plan in house.drafts for draft in plan.drafts} == {0}
    assert any(len(plan.decode) == 2 for plan in house.drafts)
    assert house.said == {SequenceId(place): list(LOOP[:100]) for place in (0, 10)}


def test_several_rows_lose_little_where_drafts_are_dear() -> None:
    """What a step takes longer is lost by all of its rows: each length is tried once."""
    drafting, plain = house_of({}, {}, {}, costs=DEAR), house_of({}, {}, {}, costs=DEAR, speculation="off")
    drafting.run()
    plain.run()
    assert 1 <= len([plan for plan in drafting.drafts if len(plan.decode) == 3]) <= 3
    assert drafting.said == plain.said


def test_drafts_are_no_longer_than_memory_allows() -> None:
    """The activations of what is drafted are there beside the rows' states."""
    state_bytes = 3 * 128 * 10
    tight = {"transient_bytes_per_token": 100, "budget_bytes": 1000 + state_bytes + 100 * 16}
    house = house_of(*[{"max_tokens": 120}] * 3, facts={**TOGETHER, **tight})
    house.run()
    assert 0 < max(plan.drafted_tokens for plan in house.drafts if len(plan.decode) == 3) <= 13


def test_what_is_a_loss_to_all_rows_is_no_gain() -> None:
    """A draft that says three tokens more in twice the time rests, where two other rows wait for it."""
    others = {"samplings": (Sampling(temperature=0.0, presence_penalty=0.5),)}
    costs = FakeCosts(decode_seconds=0.01, prefill_seconds_per_token=0.004)
    house = house_of({}, others, others, costs=costs)
    house.run()
    first, second = [at for at, plan in enumerate(house.plans) if plan.drafts and len(plan.decode) == 3][:2]
    assert second - first > 8


@dataclass(frozen=True, slots=True)
class Apart(FakeCosts):
    """Steps behind drafts take three times as long, while rows stand apart."""

    since: list[int] = field(default_factory=lambda: [STEPS_APART])

    def seconds(self, plan: StepPlan, encoded: Encoded | None) -> float:
        self.since[0] = 0 if plan.drafted_tokens else self.since[0] + 1
        more_seconds = 2 * self.decode_seconds if plan.decode and 0 < self.since[0] <= STEPS_APART else 0.0
        return FakeCosts.seconds(self, plan, encoded) + more_seconds


def test_what_steps_take_behind_drafts_lets_no_prompt_take_longer() -> None:
    """A prompt may take as long as some plain steps; those behind drafts, which are dearer, do not count."""
    costs = Apart(decode_seconds=0.05, prefill_seconds_per_token=0.001)
    timed: dict[str, object] = {"chunk_tokens": 512, "chunk_seconds": 0.512}
    text = [
        token
        for turn in range(30)
        for token in (*PERIOD * 3, *(20 + turn * 7 * place % 73 for place in range(12)))
    ]
    house = House(tuple(text), costs, facts={**TOGETHER, **timed})
    for first in (0, 10):
        house.scheduler.submit(submission(first=first, max_tokens=600), 0.0)
    while len(house.drafts) < 10:
        house.turn()
    house.scheduler.submit(submission(first=20, max_tokens=1, prompt=1200), 0.0)
    before = len(house.plans)
    house.run()
    chunks = [len(plan.prefill[0].tokens) for plan in house.plans[before:] if plan.prefill]
    step_seconds = [3 * costs.decode_seconds + 0.001 * tokens for tokens in chunks[:STEPS_APART]]
    assert len(chunks) > 3
    assert max(step_seconds) <= 0.3 + 1e-9
    assert max(step_seconds[2:]) <= 0.25
