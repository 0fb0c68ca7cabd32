"""Scheduler and strict FakeRunner, driven at random with one step in flight, as the worker drives them."""

from dataclasses import dataclass, field, replace

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.scaffolding.records import VOCABULARY, Record

from allod.core.ids import RequestId, SequenceId, TenantId
from allod.core.messages import Admitted, Refused, Stepped, Submit
from allod.core.ports import Flight
from allod.core.sampling import Sampling
from allod.core.step import DraftFacts, LayerState, Restore, StepPlan
from allod.engine.scheduler import Occupancy, Scheduler
from allod.engine.settings import EngineSettings
from allod.testing.models import TINY_DRAFT, tiny_facts
from allod.testing.runner import FakeRunner, FakeSpeech

CONTEXT = 120
SLIDING = LayerState("sliding", 2, bytes_per_token=4, fixed_bytes=5, window_tokens=24)
RECURRENT = LayerState("recurrent", 3, bytes_per_token=0, fixed_bytes=70, window_tokens=None)
FULL = LayerState("full", 2, bytes_per_token=10, fixed_bytes=0, window_tokens=None)
DEAR_DRAFT = DraftFacts(
    weights_bytes=77,
    layers=(FULL, FULL),
    transient_bytes_per_token=5,
    transient_bytes_per_token_and_context=1,
    context_tokens=70,
    reading_seconds_per_token=0.0,
    saying_seconds=0.0,
)

REPEATING = (7, 8, 9, 10, 11) * 4 + (1, 2, 8, 9, 10, 12) + (7, 8, 9, 10, 11) * 20
"""What rows say whose drafts are right for a while, and then are not."""

SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 1.0]),
    seed=st.none() | st.integers(0, 3),
    presence_penalty=st.sampled_from([0.0, 0.0, 0.5]),
    top_logprobs=st.none() | st.integers(0, 2),
)


@dataclass
class Wish:
    """What one client asks for."""

    tokens: tuple[int, ...]
    samplings: tuple[Sampling, ...]
    max_tokens: int | None
    stops: tuple[int, ...]
    tenant: TenantId
    batch: bool
    boundaries: tuple[int, ...]


def some_prompt(length: int, first: int, turn: int | None) -> tuple[int, ...]:
    """One of a few texts, which is another from one place on: many begin alike."""
    turned = length if turn is None else turn
    return tuple((first + place * place + (place >= turned)) % VOCABULARY for place in range(length))


WISHES = st.builds(
    Wish,
    tokens=st.builds(
        some_prompt,
        st.sampled_from([1, 2, 17, 40]) | st.integers(1, 90),
        st.integers(0, 12),
        st.none() | st.integers(0, 60),
    ),
    samplings=st.sampled_from([1, 1, 1, 2, 3]).flatmap(
        lambda choices: st.lists(SAMPLINGS, min_size=choices, max_size=choices).map(tuple)
    ),
    max_tokens=st.none() | st.integers(1, 40),
    stops=st.sampled_from([(), (), (3,), (1, 8)]),
    tenant=st.sampled_from("abc").map(TenantId),
    batch=st.sampled_from([False, False, True]),
    boundaries=st.sampled_from([(), (10,), (3, 16, 39)]),
)


@dataclass
class Planned(Record):
    """One whose plans are looked at."""

    state: SequenceId = field(kw_only=True)
    planned: int = 0
    replayed: int = 0

    @property
    def is_urgent(self) -> bool:
        return self.is_living and not self.submit.batch


def drafted_of(plan: StepPlan) -> dict[SequenceId, int]:
    """How many tokens each row reads behind its last one."""
    guessed = {plan.guess.sequence: plan.guess.length} if plan.guess and plan.guess.length else {}
    return guessed | {draft.sequence: len(draft.tokens) for draft in plan.drafts}


class EngineMachine(RuleBasedStateMachine):
    """Every rule is something a gateway or the loop can do, in any order."""

    @initialize(
        rows=st.sampled_from([1, 3, 5, 8]),
        state_bytes=st.sampled_from([1500, 6000, 20_000, 80_000]),
        per_context=st.sampled_from([0, 1]),
        batchable=st.sampled_from([True, True, True, False]),
        chunk=st.sampled_from([16, 64, 2048]),
        queued=st.sampled_from([2, 12, 40]),
        layers=st.sampled_from([(FULL,), (FULL,), (FULL, SLIDING), (RECURRENT,)]),
        kept=st.sampled_from([0, 300, 10**6, 10**6]),
        scores=st.booleans(),
        beside=st.booleans(),
        bounds=st.sampled_from([(), (4, 16)]),
        draft=st.sampled_from([None, TINY_DRAFT, TINY_DRAFT, DEAR_DRAFT]),
        misses_every=st.sampled_from([None, 1, 3, 7]),
        script=st.sampled_from([(), (), REPEATING]),
    )
    def start(
        self,
        rows: int,
        state_bytes: int,
        per_context: int,
        batchable: bool,
        chunk: int,
        queued: int,
        layers: tuple[LayerState, ...],
        kept: int,
        scores: bool,
        beside: bool,
        bounds: tuple[int, ...],
        draft: DraftFacts | None,
        misses_every: int | None,
        script: tuple[int, ...],
    ) -> None:
        facts = tiny_facts(
            vocabulary=VOCABULARY,
            context_tokens=CONTEXT,
            layers=layers,
            weights_bytes=777,
            budget_bytes=777 + state_bytes,
            transient_bytes_per_token=3,
            transient_bytes_per_token_and_context=per_context,
            batchable=batchable,
            alone_because="" if batchable else "recurrent",
            scores_chunks=scores,
            reads_beside=beside,
            group_bounds_tokens=bounds,
            undrafted_because="" if layers == (FULL,) else "what it took in cannot be taken back",
            draft=draft,
        )
        limits = EngineSettings(
            max_batch_rows=rows,
            max_prefill_chunk_tokens=chunk,
            max_queued_requests=queued,
            max_queued_tokens=900,
            default_max_tokens=9,
            max_decode_stall_ms=20,
            prefix_cache_bytes=kept,
        )
        self.facts = facts
        self.scheduler = Scheduler(facts, limits)
        self.script = script
        self.runner = FakeRunner(facts, speech=FakeSpeech(script), misses_every=misses_every)
        self.records: dict[SequenceId, Planned] = {}
        self.started: dict[tuple[TenantId, bool], list[SequenceId]] = {}
        self.again: set[SequenceId] = set()
        self.airborne: tuple[StepPlan, Flight] | None = None
        self.now = 0.0
        self.next_id = 0

    @rule(wishes=st.lists(WISHES, min_size=1, max_size=6))
    def submit(self, wishes: list[Wish]) -> None:
        for wish in wishes:
            self.submit_one(wish)

    def submit_one(self, wish: Wish) -> None:
        sequences = tuple(SequenceId(self.next_id + place) for place in range(len(wish.samplings)))
        self.next_id += len(sequences)
        request = RequestId(f"r{sequences[0]}")
        command = Submit(
            request,
            sequences,
            wish.samplings,
            wish.tokens,
            wish.max_tokens,
            wish.stops,
            wish.tenant,
            batch=wish.batch,
            boundaries=wish.boundaries,
        )
        answer = self.scheduler.submit(command, self.now)
        assert answer.request == request
        if isinstance(answer, Refused):
            assert (answer.retry_after_seconds is not None) == (answer.reason == "queue_full")
            return
        self.remember(command, answer)

    def remember(self, command: Submit, answer: Admitted) -> None:
        if command.max_tokens is not None:
            assert answer.max_tokens == command.max_tokens
        assert len(command.tokens) + answer.max_tokens <= CONTEXT
        for sequence, sampling in zip(command.sequences, command.samplings, strict=True):
            state = command.sequences[0] if self.facts.batchable else sequence
            self.records[sequence] = Planned(
                command, sampling, answer.max_tokens, script=self.script, state=state
            )

    @rule(pick=st.integers(0, 99), whole=st.booleans())
    def cancel(self, pick: int, whole: bool) -> None:
        """A choice, or a request with all its choices; finished ones may be named too."""
        if not self.records:
            return
        sequence = sorted(self.records)[-1 - pick % len(self.records)]
        sequences = self.records[sequence].submit.sequences if whole else (sequence,)
        self.scheduler.cancel((*sequences, SequenceId(10**6)))
        for each in sequences:
            self.records[each].cancelled |= self.records[each].finish is None

    @rule(count=st.integers(1, 15))
    def some_steps(self, count: int) -> None:
        self.steps(count)

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step()

    @rule(patient=st.lists(WISHES, min_size=1, max_size=4), urgent=WISHES, steps=st.integers(0, 30))
    def interrupt(self, patient: list[Wish], urgent: Wish, steps: int) -> None:
        """Batch work gets going when nobody else is there, until somebody comes."""
        while any(record.is_urgent for record in self.records.values()):
            self.step()
        for wish in patient:
            self.submit_one(replace(wish, batch=True))
        self.steps(steps)
        self.submit_one(replace(urgent, batch=False))

    @rule(first=WISHES, then=WISHES, before=st.integers(0, 30), steps=st.integers(0, 30))
    def converse(self, first: Wish, then: Wish, before: int, steps: int) -> None:
        """One answer after the other, and the second may come before the first has ended."""
        plain = Sampling(temperature=0.0)
        while any(record.is_living for record in self.records.values()):
            self.step()
        self.submit_one(replace(first, samplings=(plain,), max_tokens=40, stops=()))
        self.steps(before)
        self.submit_one(then)
        self.steps(steps)

    def step(self) -> None:
        """One turn of the worker's loop."""
        plan = self.scheduler.plan()
        self.check_priority(plan)
        self.check_rows_go_on(plan)
        self.note_given_up(plan)
        launched = None
        if not plan.is_empty:
            launched = (plan, self.runner.launch(plan))
            self.note_starts(plan)
            self.note_rows(plan)
        self.check_places(plan)
        if self.airborne is not None:
            flown, flight = self.airborne
            result = flight.collect()
            self.now += result.seconds
            self.take(flown, self.scheduler.commit(flown, result, self.now))
        else:
            assert launched or self.scheduler.idle, "work is left, but none is planned"
        self.airborne = launched

    def check_priority(self, plan: StepPlan) -> None:
        """While interactive work lives, no batch work gets a step; a step is never shared."""
        working = {*plan.decode, *(join.state for join in plan.join)}
        working |= {chunk.state for chunk in plan.prefill}
        is_batch = {self.records[sequence].submit.batch for sequence in working}
        assert len(is_batch) <= 1
        if any(record.is_urgent for record in self.records.values()):
            assert True not in is_batch

    def check_rows_go_on(self, plan: StepPlan) -> None:
        """What speaks is in the step, unless it is batch work and its time is not now."""
        if plan.is_empty and self.airborne is not None:
            return  # the next step needs to know what this one says
        is_urgent = any(record.is_urgent for record in self.records.values())
        for sequence in (*self.runner.rows, *self.runner.parked):
            record = self.records[sequence]
            is_speaking = record.is_living and record.planned < record.max_tokens
            if is_speaking and not (is_urgent and record.submit.batch):
                assert sequence in plan.decode, "a row waited"

    def note_given_up(self, plan: StepPlan) -> None:
        """What is released although it lives is batch work, made room for interactive work, and told all."""
        for sequence in plan.release:
            record = self.records[sequence]
            is_row = sequence in (*self.runner.rows, *self.runner.parked)
            if is_row:
                is_given_up = record.is_living and record.planned < record.max_tokens
            else:
                is_given_up = any(each.is_living and each.state == sequence for each in self.records.values())
            if not is_given_up:
                continue
            assert record.submit.batch
            assert any(each.is_urgent for each in self.records.values())
            if is_row:
                assert record.planned == len(record.tokens)
                record.state, record.replayed = sequence, len(record.tokens)
                self.again.add(sequence)
                continue
            # The prompt is read again under the name of the first choice that still lives.
            members = [
                each for each, known in self.records.items() if known.is_living and known.state == sequence
            ]
            for each in members:
                self.records[each].state = members[0]
            self.again.add(members[0])
            line = self.started[record.submit.tenant, record.submit.batch]
            if sequence in line and members[0] not in line:
                line.insert(line.index(sequence) + 1, members[0])

    def note_starts(self, plan: StepPlan) -> None:
        """First come, first served within a tenant: ids grow in the order of submission.

        Within a step several may start.
        """
        states = [join.state for join in plan.join]
        restored = [step.state for step in plan.restore if isinstance(step, Restore)]
        states += [state for state in restored if state not in states]
        states += [chunk.state for chunk in plan.prefill]
        for state in sorted(set(states)):
            submit = self.records[state].submit
            line = self.started.setdefault((submit.tenant, submit.batch), [])
            if state in self.again:
                self.again.discard(state)
            elif state not in line and not self.records[state].replayed:
                assert not line or line[-1] < state
                line.append(state)

    def note_rows(self, plan: StepPlan) -> None:
        """No row is run past its limit, and what is held was reserved."""
        drafted = drafted_of(plan)
        for sequence in plan.decode:
            record = self.records[sequence]
            record.planned += 1 + drafted.get(sequence, 0)
            assert record.planned <= record.max_tokens
        occupancy = self.scheduler.occupancy()
        assert self.runner.kept_bytes == occupancy.prefix_bytes
        held_bytes = self.runner.memory().active_bytes - self.facts.weights_bytes
        assert held_bytes <= occupancy.reserved_bytes + occupancy.prefix_bytes

    def check_places(self, plan: StepPlan) -> None:
        """After a launch every living sequence is in exactly one place, and the counters say so."""
        occupancy = self.scheduler.occupancy()
        started = {state for line in self.started.values() for state in line}
        landing = self.airborne[0].decode if self.airborne else ()
        waiting: dict[SequenceId, int] = {}
        for sequence, record in self.records.items():
            if not record.is_living:
                continue
            is_begun = record.state in started or record.replayed > 0
            is_waiting = record.state in self.again or not is_begun
            is_reading = record.state in self.runner.states
            is_row = sequence in (*self.runner.rows, *self.runner.parked)
            is_landing = sequence in landing and sequence in plan.release
            assert is_waiting + is_reading + is_row + is_landing == 1
            if is_waiting:
                waiting[record.state] = len(record.submit.tokens) + record.replayed
        assert (occupancy.rows, occupancy.parked) == (len(self.runner.rows), len(self.runner.parked))
        assert occupancy.prefilling == len(self.runner.states)
        assert occupancy.queued == len(waiting)
        assert occupancy.queued_tokens == sum(waiting.values())

    def take(self, plan: StepPlan, stepped: Stepped) -> None:
        speaking = {each for each, record in self.records.items() if record.is_urgent and record.tokens}
        assert speaking <= {emission.sequence for emission in stepped.emissions}, "a row waited"
        for emission in stepped.emissions:
            record = self.records[emission.sequence]
            assert record.is_living
            record.tokens += emission.tokens
            record.finish = emission.finish
            assert len(emission.scores) == (record.sampling.top_logprobs is not None)
            is_stop = record.tokens[-1] in record.submit.stop_tokens
            is_full = len(record.tokens) == record.max_tokens
            assert emission.finish == ("stop" if is_stop else "length" if is_full else None)
        for sequence in drafted_of(plan):
            self.records[sequence].planned = len(self.records[sequence].tokens)
        restored = sum(isinstance(step, Restore) for step in plan.restore)
        assert len(stepped.progress) <= restored + len(plan.prefill)
        for progress in stepped.progress:
            assert progress.cached_tokens in (0, progress.done_tokens)
            assert 0 < progress.done_tokens < progress.total_tokens

    @invariant()
    def reserved_bytes_fit(self) -> None:
        assert self.scheduler.occupancy().reserved_bytes <= self.facts.budget_bytes - self.facts.weights_bytes

    @invariant()
    def idle_means_nobody_is_owed(self) -> None:
        owed = any(record.is_living for record in self.records.values())
        if self.scheduler.idle:
            assert not owed
            assert not self.scheduler.plan().decode

    @invariant()
    def text_never_depends_on_the_batch(self) -> None:
        for record in self.records.values():
            assert tuple(record.tokens) == record.due

    def teardown(self) -> None:
        """Left alone, everything ends: finished or cancelled, exactly once, and nothing is held."""
        if not hasattr(self, "records"):
            return
        turns = 0
        while not (self.scheduler.idle and self.airborne is None):
            self.step()
            turns += 1
            assert turns < 10_000, "the engine does not come to rest"
        for record in self.records.values():
            assert (record.finish is not None) != record.cancelled
        assert (self.runner.rows, self.runner.parked, self.runner.states) == ((), (), ())
        kept_bytes = self.runner.kept_bytes
        assert self.runner.memory().active_bytes == self.facts.weights_bytes + kept_bytes
        drafts = (self.scheduler.occupancy().looked_up, self.scheduler.occupancy().guessed)
        idle = Occupancy(0, 0, 0, 0, 0, 0, 0, 0, kept_bytes, *drafts)
        assert self.scheduler.occupancy() == idle


EngineMachine.TestCase.settings = hypothesis_settings(
    max_examples=min(50, hypothesis_settings().max_examples), stateful_step_count=40, deadline=None
)
TestEngine = EngineMachine.TestCase
