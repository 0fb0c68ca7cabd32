"""Batch work waits for interactive work, and nothing of it is lost."""

from allod.core.ids import SequenceId, TenantId
from allod.core.messages import Admitted, Emission, Refused, Stepped, Submit
from allod.core.sampling import Sampling
from allod.core.step import Join, Prefill, Sampled, StepPlan, StepResult
from allod.engine.scheduler import Occupancy, Scheduler
from allod.engine.settings import EngineSettings
from allod.testing.models import submission, tiny_facts

GREEDY = Sampling(temperature=0.0)
PENALISED = Sampling(temperature=0.0, presence_penalty=0.5)


def ids(*numbers: int) -> tuple[SequenceId, ...]:
    return tuple(SequenceId(number) for number in numbers)


def scheduler(*, settings: EngineSettings | None = None, **changes: object) -> Scheduler:
    return Scheduler(tiny_facts(**changes), settings or EngineSettings(prefix_cache_bytes=0))


def patient(**changes: object) -> Submit:
    return submission(**{"batch": True, **changes})


def result(plan: StepPlan, token: int = 5) -> StepResult:
    return StepResult(tuple(Sampled(sequence, token) for sequence in plan.decode), 0.01)


def test_rows_are_parked_while_interactive_work_lives_and_then_go_on():
    """The token that was in flight when the row was parked still comes; the row resumes behind it."""
    engine = scheduler()
    engine.submit(patient(prompt=1, max_tokens=3), 0.0)
    first = engine.plan()
    assert first == StepPlan(join=(Join(SequenceId(0), ((SequenceId(0), GREEDY),), 0, ()),), decode=ids(0))
    engine.submit(submission(prompt=3, max_tokens=1, first=10), 0.0)
    second = engine.plan()
    assert second == StepPlan(park=ids(0), prefill=(Prefill(SequenceId(10), (10, 11)),))
    assert engine.commit(first, result(first), 0.1).emissions == (Emission(SequenceId(0), (5,)),)
    third = engine.plan()
    assert (third.park, third.decode) == ((), ids(10))
    assert engine.occupancy().parked == 1
    engine.commit(second, result(second), 0.2)
    fourth = engine.plan()
    assert fourth == StepPlan(release=ids(10))
    engine.commit(third, result(third), 0.3)
    fifth = engine.plan()
    assert fifth == StepPlan(resume=ids(0), decode=ids(0))
    engine.commit(fourth, result(fourth), 0.4)
    sixth = engine.plan()
    assert sixth.decode == ids(0)
    engine.commit(fifth, result(fifth), 0.5)
    assert engine.commit(sixth, result(sixth), 0.6) == Stepped((Emission(SequenceId(0), (5,), "length"),))


def test_a_prompt_rests_between_its_chunks():
    """A batch prompt that is half read keeps what was read, and is read on later."""
    engine = scheduler()
    engine.submit(patient(prompt=60), 0.0)
    assert engine.plan().prefill == (Prefill(SequenceId(0), tuple(range(32))),)
    engine.submit(submission(prompt=1, max_tokens=1, first=10), 0.0)
    plan = engine.plan()
    assert (plan.decode, plan.prefill) == (ids(10), ())
    assert engine.occupancy().prefilling == 1
    engine.commit(plan, result(plan), 0.1)
    assert engine.plan() == StepPlan(release=ids(10), prefill=(Prefill(SequenceId(0), tuple(range(32, 59))),))


def test_batch_work_never_starts_beside_interactive_work():
    """Room in the batch is not used for it: a shared step is a slower step."""
    engine = scheduler()
    engine.submit(submission(prompt=1, max_tokens=2), 0.0)
    engine.submit(patient(prompt=1, first=10), 0.0)
    plans = [engine.plan(), engine.plan(), engine.plan()]
    assert [plan.decode for plan in plans] == [ids(0), ids(0), ()]
    for plan in plans[:2]:
        engine.commit(plan, result(plan), 0.1)
    assert engine.plan().decode == ids(10)


def test_a_row_that_ends_while_it_is_parked_is_released():
    """Its last token was in flight, or its client left: it does not come back."""
    engine = scheduler()
    engine.submit(patient(prompt=1, stop_tokens=(7,)), 0.0)
    engine.submit(patient(prompt=1, first=1), 0.0)
    first = engine.plan()
    engine.submit(submission(prompt=1, max_tokens=9, first=10), 0.0)
    assert engine.plan().park == ids(0, 1)
    stepped = engine.commit(
        first, StepResult((Sampled(SequenceId(0), 7), Sampled(SequenceId(1), 5)), 0.01), 0.1
    )
    assert stepped.emissions[0].finish == "stop"
    engine.cancel(ids(1))
    assert engine.plan().release == ids(0, 1)
    assert engine.occupancy().parked == 0


def test_parked_rows_keep_their_bytes():
    """16 and 32 tokens are reserved, each group padded by itself."""
    engine = scheduler()
    engine.submit(patient(prompt=1, max_tokens=15), 0.0)
    engine.plan()
    engine.submit(submission(prompt=1, max_tokens=31, first=10), 0.0)
    engine.plan()
    assert engine.occupancy() == Occupancy(1, 0, 0, 0, reserved_bytes=160 + 320, parked=1)


def tight() -> Scheduler:
    """Room for 64 tokens of state."""
    return scheduler(weights_bytes=0, budget_bytes=640)


def test_interactive_work_that_needs_the_bytes_gets_them():
    """The parked row is given up once its last token is known, and starts again from all it read."""
    engine = tight()
    engine.submit(patient(prompt=2, max_tokens=20, samplings=(PENALISED,)), 0.0)
    plans = [engine.plan(), engine.plan()]
    engine.commit(plans[0], result(plans[0]), 0.1)
    engine.submit(submission(prompt=1, max_tokens=40, first=10), 0.1)
    parking = engine.plan()
    assert parking == StepPlan(park=ids(0))
    engine.commit(plans[1], result(plans[1]), 0.2)
    taking = engine.plan()
    assert (taking.release, taking.decode) == (ids(0), ids(10))
    assert engine.occupancy().queued_tokens == 3
    engine.cancel(ids(10))
    again = engine.plan()
    assert (again.release, again.prefill) == (ids(10), (Prefill(SequenceId(0), (0, 1)),))
    joins = (Join(SequenceId(0), ((SequenceId(0), PENALISED),), 5, (0, 1), said=(5,)),)
    joining = engine.plan()
    assert joining == StepPlan(join=joins, decode=ids(0))
    said = 1
    engine.commit(again, StepResult((), 0.01), 0.3)
    flight = joining
    while not engine.idle:
        launched = engine.plan()
        stepped = engine.commit(flight, result(flight), 0.4)
        said += len(stepped.emissions)
        assert [each.finish for each in stepped.emissions] == (["length"] if said == 20 else [None])[
            : len(stepped.emissions)
        ]
        flight = launched
    assert said == 20


def test_the_youngest_are_given_up_first_and_only_as_many_as_needed():
    """What is older keeps what it has."""
    engine = scheduler(weights_bytes=0, budget_bytes=960)
    for first in range(3):
        engine.submit(patient(prompt=1, max_tokens=15, first=first), 0.0)
    plan = engine.plan()
    assert plan.decode == ids(0, 1, 2)
    engine.commit(plan, result(plan), 0.1)
    engine.submit(submission(prompt=1, max_tokens=60, first=10), 0.1)
    plan = engine.plan()
    assert (plan.release, plan.park, plan.decode) == (ids(2), ids(0, 1), ids(10))


def test_choices_that_were_given_up_each_go_their_own_way():
    """Two choices of one prompt that said different things are read again one by one."""
    engine = tight()
    engine.submit(patient(prompt=1, max_tokens=15, choices=2), 0.0)
    plan = engine.plan()
    engine.commit(plan, StepResult((Sampled(SequenceId(0), 5), Sampled(SequenceId(1), 6)), 0.01), 0.1)
    engine.submit(submission(prompt=1, max_tokens=63, first=10), 0.1)
    assert engine.plan().release == ids(0, 1)
    engine.cancel(ids(10))
    assert engine.plan().prefill == (Prefill(SequenceId(0), (0,)), Prefill(SequenceId(1), (0,)))
    assert [join.said for join in engine.plan().join] == [(5,), (6,)]


def test_a_half_read_prompt_is_given_up_as_it_is():
    """It has said nothing, so it only starts over, and all of its choices with it."""
    engine = tight()
    engine.submit(patient(prompt=40, max_tokens=8), 0.0)
    engine.plan()
    engine.submit(submission(prompt=1, max_tokens=40, first=10), 0.0)
    plan = engine.plan()
    assert (plan.release, plan.decode) == (ids(0), ids(10))
    engine.cancel(ids(10))
    assert engine.plan().prefill == (Prefill(SequenceId(0), tuple(range(32))),)


def test_each_lane_has_a_queue_of_its_own():
    """A pile of batch work does not turn interactive requests away, nor is it counted before them."""
    engine = scheduler(settings=EngineSettings(prefix_cache_bytes=0, max_queued_requests=2, max_batch_rows=1))
    for first in range(3):
        answer = engine.submit(patient(first=first), 0.0)
        assert isinstance(answer, Refused if first == 2 else Admitted)
    assert engine.submit(submission(first=10), 0.0) == Admitted(submission(first=10).request, 8, 0)


def test_a_batch_row_must_fit_even_if_all_of_it_is_read_again():
    """A prompt of 2 and an answer of 30 count as a prompt of 32, so that a restart is never refused."""
    facts = {"weights_bytes": 0, "transient_bytes_per_token": 10}
    settings = EngineSettings(prefix_cache_bytes=0, max_prefill_chunk_tokens=256)
    needed = 32 * 10 + 31 * 10
    assert isinstance(
        scheduler(settings=settings, budget_bytes=needed, **facts).submit(
            patient(prompt=2, max_tokens=30), 0.0
        ),
        Admitted,
    )
    refused = scheduler(settings=settings, budget_bytes=needed - 1, **facts).submit(
        patient(prompt=2, max_tokens=30, tenant=TenantId("b")), 0.0
    )
    assert isinstance(refused, Refused)
    assert refused.reason == "memory"
