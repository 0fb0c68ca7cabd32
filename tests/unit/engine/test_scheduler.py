"""Plans, step by step."""

from itertools import count

import pytest

from allod.core.ids import SequenceId, TenantId
from allod.core.messages import Admitted, Emission, PrefillProgress, Refused, Stepped
from allod.core.sampling import Sampling
from allod.core.step import Join, Keep, Prefill, Restore, Sampled, Scores, StepPlan, StepResult
from allod.engine.lane import BEGINNING_TOKENS
from allod.engine.scheduler import Occupancy, Scheduler
from allod.engine.settings import EngineSettings
from allod.testing.models import submission, tiny_facts

GREEDY = Sampling(temperature=0.0)


def ids(*numbers: int) -> tuple[SequenceId, ...]:
    return tuple(SequenceId(number) for number in numbers)


def scheduler(*, settings: EngineSettings | None = None, **changes: object) -> Scheduler:
    return Scheduler(tiny_facts(**changes), settings or EngineSettings(prefix_cache_bytes=0))


def result(plan: StepPlan, *tokens: int) -> StepResult:
    """Every row of the plan made a token: these, or 5."""
    said = tokens or (5,) * len(plan.decode)
    return StepResult(tuple(map(Sampled, plan.decode, said)), 0.01)


def test_a_prompt_is_prefilled_joins_decodes_and_is_released():
    """The whole life of a request, with every plan made before the last one is committed."""
    engine = scheduler()
    assert engine.submit(submission(prompt=4, max_tokens=2), 0.0) == Admitted(submission().request, 2, 0)
    first = engine.plan()
    assert first == StepPlan(prefill=(Prefill(SequenceId(0), (0, 1, 2)),))
    second = engine.plan()
    assert second == StepPlan(join=(Join(SequenceId(0), ((SequenceId(0), GREEDY),), 3, ()),), decode=ids(0))
    progress = (PrefillProgress(submission().request, 3, 4),)
    assert engine.commit(first, result(first), 0.1) == Stepped((), progress)
    third = engine.plan()
    assert third == StepPlan(decode=ids(0))
    assert engine.commit(second, result(second), 0.2) == Stepped((Emission(SequenceId(0), (5,)),))
    fourth = engine.plan()
    assert fourth == StepPlan(release=ids(0))
    assert engine.occupancy().rows == 0
    assert not engine.idle
    assert engine.commit(third, result(third), 0.3) == Stepped((Emission(SequenceId(0), (5,), "length"),))
    assert engine.idle
    assert engine.commit(fourth, result(fourth), 0.4) == Stepped(())
    assert engine.plan().is_empty


def test_a_stop_token_wastes_one_step_and_is_released_after():
    """The row that stopped at k is in step k+1, whose token is dropped, and out of step k+2."""
    engine = scheduler()
    engine.submit(submission(prompt=1, stop_tokens=(7,)), 0.0)
    first, second = engine.plan(), engine.plan()
    assert first.decode == second.decode == ids(0)
    stepped = engine.commit(first, result(first, 7), 0.1)
    assert stepped.emissions == (Emission(SequenceId(0), (7,), "stop"),)
    third = engine.plan()
    assert third == StepPlan(release=ids(0))
    assert engine.commit(second, result(second), 0.2) == Stepped(())
    assert engine.commit(third, result(third), 0.3) == Stepped(())
    assert engine.idle


def test_choices_fork_one_prefill():
    """N choices cost one prefill and enter the batch together."""
    engine = scheduler()
    engine.submit(submission(prompt=3, choices=3), 0.0)
    assert engine.plan().prefill == (Prefill(SequenceId(0), (0, 1)),)
    plan = engine.plan()
    assert plan.join == (Join(SequenceId(0), tuple((each, GREEDY) for each in ids(0, 1, 2)), 2, ()),)
    assert plan.decode == ids(0, 1, 2)


def test_the_prompt_travels_when_one_row_needs_it():
    """Penalties look at the prompt, so the join carries it."""
    engine = scheduler()
    penalised = Sampling(repetition_penalty=1.1)
    engine.submit(submission(prompt=2, choices=2, samplings=(GREEDY, penalised)), 0.0)
    engine.plan()
    assert engine.plan().join[0].prompt == (0, 1)


def test_short_prompts_are_read_in_one_step():
    """Those that wait are read beside the first while there is room, and enter the batch together."""
    engine = scheduler()
    for first in (0, 10, 20):
        engine.submit(submission(prompt=14, first=first), 0.0)
    first, second, third = (Prefill(SequenceId(at), tuple(range(at, at + 13))) for at in (0, 10, 20))
    assert engine.plan().prefill == (first, second)
    assert engine.occupancy().prefilling == 2
    plan = engine.plan()
    assert (plan.decode, plan.prefill) == (ids(0, 10), (third,))
    plan = engine.plan()
    assert (plan.decode, plan.prefill) == (ids(0, 10, 20), ())


def test_a_prompt_joins_with_the_chunk_that_ends_it():
    """Its first token comes of the step that reads its end, beside rows and chunks of others."""
    engine = scheduler(scores_chunks=True)
    engine.submit(submission(prompt=4), 0.0)
    engine.submit(submission(prompt=60, first=10), 0.0)
    plan = engine.plan()
    assert [len(chunk.tokens) for chunk in plan.prefill] == [3, 29]
    assert plan.join == (Join(SequenceId(0), ((SequenceId(0), GREEDY),), 3, ()),)
    assert plan.decode == ids(0)
    assert engine.commit(plan, result(plan), 0.1).emissions == (Emission(SequenceId(0), (5,)),)
    plan = engine.plan()
    assert [len(chunk.tokens) for chunk in plan.prefill] == [30]
    assert plan.decode == ids(0, 10)


def test_what_was_read_is_kept_before_its_rows_go_on():
    """In the step that reads it and lets it join."""
    engine = scheduler(settings=EngineSettings(), scores_chunks=True)
    engine.submit(submission(prompt=30), 0.0)
    (kept,) = engine.plan().keep_read
    assert isinstance(kept, Keep)
    assert (kept.source, kept.start, kept.end) == (0, 0, 29)


def test_the_next_prompt_is_begun_beside_the_end_of_another():
    """What is left of a step's room goes to the next, whose rest comes first in the step after it."""
    engine = scheduler()
    engine.submit(submission(prompt=16), 0.0)
    engine.submit(submission(prompt=40, first=10), 0.0)
    first, begun = engine.plan().prefill
    assert (len(first.tokens), first.state) == (15, 0)
    assert (len(begun.tokens), begun.state) == (17, 10)
    plan = engine.plan()
    assert plan.decode == ids(0)
    assert [(chunk.state, chunk.tokens[0]) for chunk in plan.prefill] == [(10, 27)]


def test_a_prompt_waits_for_one_that_begins_alike():
    """It is not read beside the other, but goes on from what was kept of it."""
    engine = scheduler(settings=EngineSettings())
    alike = tuple(range(20))
    for first, last in ((0, 90), (10, 91)):
        engine.submit(submission(prompt=22, first=first, tokens=(*alike, last, last)), 0.0)
    (chunk,) = engine.plan().prefill
    assert chunk.state == 0
    plan = engine.plan()
    assert plan.join[0].state == 0
    assert [step.parts[0][1] for step in plan.restore if isinstance(step, Restore)] == [20]
    assert plan.prefill == (Prefill(SequenceId(10), (91,)),)


def test_what_was_measured_at_loading_sizes_the_first_chunk():
    """The first prompt is read like later ones."""
    engine = Scheduler(tiny_facts(chunk_tokens=256, chunk_seconds=0.1), EngineSettings())
    engine.submit(submission(prompt=1000), 0.0)
    (chunk,) = engine.plan().prefill
    assert len(chunk.tokens) == 512


def test_long_prompts_are_read_in_chunks():
    """The first chunks are small, and progress is told for each."""
    engine = scheduler()
    engine.submit(submission(prompt=100), 0.0)
    sizes, told = [], []
    flight = engine.plan()
    while flight.prefill:
        sizes.append(sum(len(chunk.tokens) for chunk in flight.prefill))
        launched = engine.plan()
        told += engine.commit(flight, StepResult((), 0.001), 0.0).progress
        flight = launched
    assert sizes == [32, 32, 35]
    assert [(each.done_tokens, each.total_tokens) for each in told] == [(32, 100), (64, 100), (99, 100)]


def test_short_prompts_join_together():
    """Prompts of one token need no prefill, so all that fit enter in one step, in order."""
    engine = scheduler(settings=EngineSettings(prefix_cache_bytes=0, max_batch_rows=3))
    for first in range(5):
        engine.submit(submission(prompt=1, first=first), 0.0)
    plan = engine.plan()
    assert plan.decode == ids(0, 1, 2)
    assert engine.occupancy().queued == 2


def test_rows_that_are_free_again_are_used_in_the_same_plan():
    """Release comes before join, so a full batch passes its rows on without a gap."""
    engine = scheduler(settings=EngineSettings(prefix_cache_bytes=0, max_batch_rows=1))
    for first in range(2):
        engine.submit(submission(prompt=1, max_tokens=1, first=first), 0.0)
    assert engine.plan().decode == ids(0)
    plan = engine.plan()
    assert (plan.release, plan.decode) == (ids(0), ids(1))


def test_rows_that_cannot_share_a_step_take_turns():
    """Each choice of an unbatchable model is prefilled for itself after the one before is gone."""
    engine = scheduler(batchable=False, alone_because="recurrent")
    engine.submit(submission(prompt=3, choices=2, max_tokens=1), 0.0)
    assert engine.plan().prefill == (Prefill(SequenceId(0), (0, 1)),)
    plan = engine.plan()
    assert (plan.decode, plan.prefill) == (ids(0), ())
    plan = engine.plan()
    assert plan == StepPlan(release=ids(0), prefill=(Prefill(SequenceId(1), (0, 1)),))
    assert engine.plan().decode == ids(1)
    assert engine.plan().release == ids(1)


def test_bytes_are_reserved_for_the_longest_row():
    """Two rows of 16 and 64 tokens are padded to 64: 2 * 64 * 10 bytes."""
    engine = scheduler()
    engine.submit(submission(prompt=1, max_tokens=15), 0.0)
    engine.submit(submission(prompt=1, max_tokens=63, first=1), 0.0)
    engine.plan()
    assert engine.occupancy().reserved_bytes == 1280


def test_a_prompt_that_is_read_has_its_bytes_reserved():
    """From its first chunk on: 32 + 16 tokens, twice."""
    engine = scheduler()
    engine.submit(submission(prompt=32, max_tokens=16, choices=2), 0.0)
    engine.plan()
    assert engine.occupancy() == Occupancy(0, prefilling=1, queued=0, queued_tokens=0, reserved_bytes=960)


def test_chunks_shrink_to_the_memory_that_is_left():
    """1000 bytes of weights, 32,160 of state and 3,000 of activations: chunks of at most 300, so 288."""
    engine = scheduler(budget_bytes=1000 + 32_160 + 3000, transient_bytes_per_token=10)
    engine.submit(submission(prompt=3200, max_tokens=8), 0.0)
    plan, sizes = engine.plan(), []
    while plan.prefill:
        sizes.append(sum(len(chunk.tokens) for chunk in plan.prefill))
        engine.commit(plan, StepResult((), 0.001), 0.0)
        plan = engine.plan()
    assert sizes[:6] == [32, 64, 128, 256, 288, 288]
    assert max(sizes) == 288


def test_the_head_waits_for_bytes_and_is_not_overtaken():
    """A large request at the head keeps a small one of another tenant behind it until it fits."""
    engine = scheduler(weights_bytes=0, budget_bytes=1600)
    engine.submit(submission(prompt=1, max_tokens=15), 0.0)
    engine.plan()
    engine.submit(submission(prompt=1, max_tokens=99, first=1, tenant=TenantId("b")), 0.0)
    engine.submit(submission(prompt=1, max_tokens=3, first=2, tenant=TenantId("c")), 0.0)
    plan = engine.plan()
    assert plan.decode == ids(0)
    engine.cancel(ids(0))
    plan = engine.plan()
    assert (plan.release, plan.decode) == (ids(0), ids(1))


@pytest.mark.parametrize("plans_before", range(5))
def test_a_cancelled_request_leaves_nothing_behind(plans_before: int):
    """Queued, prefilling, ready or decoding: it is released once, its tokens are dropped, and all is idle."""
    engine = scheduler()
    engine.submit(submission(prompt=64, choices=2), 0.0)
    plans = [engine.plan() for _ in range(plans_before)]
    held = {0: (), 1: ids(0), 2: ids(0), 3: ids(0, 1), 4: ids(0, 1)}[plans_before]
    engine.cancel(ids(0, 1, 99))
    last = engine.plan()
    assert last == StepPlan(release=held)
    assert all(engine.commit(plan, result(plan), 0.0) == Stepped(()) for plan in [*plans, last])
    assert engine.idle
    assert engine.plan().is_empty
    assert engine.occupancy() == Occupancy(rows=0, prefilling=0, queued=0, queued_tokens=0, reserved_bytes=0)


def test_only_living_choices_join_and_the_state_keeps_its_id():
    """Cancelling the first choice in prefill does not lose the prompt."""
    engine = scheduler()
    engine.submit(submission(prompt=3, choices=2), 0.0)
    first = engine.plan()
    engine.cancel(ids(0))
    plan = engine.plan()
    assert plan.join == (Join(SequenceId(0), ((SequenceId(1), GREEDY),), 2, ()),)
    assert (plan.release, plan.decode) == ((), ids(1))
    assert engine.commit(first, result(first), 0.0).progress


def test_scores_pass_through():
    """One entry per token when they were asked for."""
    engine = scheduler()
    engine.submit(submission(prompt=1), 0.0)
    plan = engine.plan()
    scores = Scores(-0.5, ((1, -0.5),))
    stepped = engine.commit(plan, StepResult((Sampled(SequenceId(0), 1, scores),), 0.01), 0.0)
    assert stepped.emissions == (Emission(SequenceId(0), (1,), None, (scores,)),)


def test_a_full_queue_says_when_to_come_back():
    """The count bound, the token bound, and the seconds from the measured rate."""
    engine = scheduler(
        settings=EngineSettings(
            prefix_cache_bytes=0, max_queued_requests=2, max_queued_tokens=100, max_batch_rows=1
        )
    )
    engine.submit(submission(prompt=1, max_tokens=1), 0.0)
    plan = engine.plan()
    engine.commit(plan, result(plan), 2.0)
    assert engine.submit(submission(prompt=90, first=1), 2.0) == Admitted(submission(first=1).request, 8, 0)
    refused = engine.submit(submission(prompt=11, first=2), 2.0)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.retry_after_seconds) == ("queue_full", 90)
    assert "1 requests with 90 prompt tokens" in refused.message
    assert engine.submit(submission(prompt=10, first=3), 2.0) == Admitted(submission(first=3).request, 8, 1)
    refused = engine.submit(submission(prompt=0, first=4, tokens=(1,)), 2.0)
    assert isinstance(refused, Refused)
    assert refused.reason == "queue_full"


def test_refusals_leave_no_trace():
    """What is refused is not remembered; what is in use is not taken twice."""
    engine = scheduler()
    refused = engine.submit(submission(prompt=5000), 0.0)
    assert isinstance(refused, Refused)
    assert refused.reason == "context"
    assert engine.idle
    engine.submit(submission(), 0.0)
    again = engine.submit(submission(), 0.0)
    assert isinstance(again, Refused)
    assert again.reason == "invalid"
    assert engine.occupancy().queued == 1


def stalls(engine: Scheduler, flight: StepPlan) -> list[float]:
    """What the steps took that read prompts, at 10 ms for rows and half a millisecond for a token read."""
    seconds: list[float] = []
    for step in count():
        chunk = sum(len(chunk.tokens) for chunk in flight.prefill)
        if step and not chunk:
            return seconds
        seconds.append(0.010 + chunk * 0.0005)
        launched = engine.plan()
        sampled = tuple(Sampled(row, 1) for row in flight.decode)
        engine.commit(flight, StepResult(sampled, seconds[-1]), 0.0)
        flight = launched
    raise AssertionError


def test_prefill_leaves_room_for_the_decoding_rows():
    """While a stream flows, chunk and decode together stay within the stall, once costs are known."""
    settings = EngineSettings(prefix_cache_bytes=0, max_decode_stall_ms=100)
    engine = scheduler(settings=settings, context_tokens=100_000)
    engine.submit(submission(prompt=1, max_tokens=500), 0.0)
    flight = engine.plan()
    engine.submit(submission(prompt=4000, max_tokens=1, first=1), 0.0)
    seconds = stalls(engine, flight)
    assert max(seconds) <= 0.08 + 1e-9
    assert max(seconds) > 0.06


def test_a_row_of_a_burst_waits_for_the_others_only_until_it_flows():
    """Its first tokens may wait for a second each, later ones no longer than any stream's."""
    settings = EngineSettings(prefix_cache_bytes=0, max_decode_stall_ms=100)
    engine = scheduler(settings=settings, context_tokens=100_000, chunk_tokens=1024, chunk_seconds=0.512)
    engine.submit(submission(prompt=1, max_tokens=500), 0.0)
    engine.submit(submission(prompt=80_000, max_tokens=1, first=1), 0.0)
    seconds = stalls(engine, engine.plan())
    assert 0.9 < max(seconds[:BEGINNING_TOKENS]) <= 1.01  # what decoding costs is not known at first
    assert max(seconds[BEGINNING_TOKENS + 1 :]) <= 0.1


def test_all_choices_need_rows_before_a_prompt_is_taken_up():
    """Two requests of two choices do not share three rows."""
    engine = scheduler(settings=EngineSettings(prefix_cache_bytes=0, max_batch_rows=3))
    for first in (0, 10):
        engine.submit(submission(prompt=1, choices=2, first=first), 0.0)
    assert engine.plan().decode == ids(0, 1)
    assert engine.plan().decode == ids(0, 1)


def test_what_an_answer_did_not_use_is_given_back():
    """A tenant whose long limit was not used has its next turn as if it had asked for less."""
    engine = scheduler(settings=EngineSettings(prefix_cache_bytes=0, max_batch_rows=1))
    asked = [(1000, "a"), (10, "a"), (50, "b"), (50, "b")]
    for first, (max_tokens, tenant) in enumerate(asked):
        changes = {"max_tokens": max_tokens, "tenant": TenantId(tenant), "stop_tokens": (5,)}
        engine.submit(submission(prompt=1, first=first, **changes), 0.0)
    order: list[SequenceId] = []
    while not engine.idle:
        plan = engine.plan()
        order += [joining.state for joining in plan.join]
        engine.commit(plan, result(plan), 0.0)
    assert order == list(ids(0, 2, 1, 3))


def test_a_slow_join_does_not_pass_for_a_slow_decode_step():
    """A step that rearranged the batch takes long once; chunks are not held down for it."""
    engine = scheduler()
    engine.submit(submission(prompt=1, max_tokens=500), 0.0)
    plan = engine.plan()
    engine.commit(plan, StepResult((Sampled(SequenceId(0), 1),), 30.0), 0.0)
    engine.submit(submission(prompt=200, first=1), 0.0)
    for expected in (32, 64):
        plan = engine.plan()
        assert sum(len(chunk.tokens) for chunk in plan.prefill) == expected
        engine.commit(plan, StepResult((Sampled(SequenceId(0), 1),), 0.001), 0.0)


def test_an_answer_whose_grammar_was_lost_is_cut_off() -> None:
    """The end token was all that was left, so it is no end of the model's own."""
    engine = Scheduler(tiny_facts(), EngineSettings())
    engine.submit(submission(prompt=1, stop_tokens=(9,)), 0.0)
    plan = engine.plan()
    stepped = engine.commit(plan, StepResult((Sampled(SequenceId(0), 9, cut=True),), 0.01), 0.0)
    assert [emission.finish for emission in stepped.emissions] == ["length"]
