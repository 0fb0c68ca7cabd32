"""Scheduler and strict FakeRunner with pictures in prompts, driven at random as the worker drives them.

What a tower reads comes late, in any order, twice, for nobody, or not before somebody cancels.
"""

from dataclasses import dataclass

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.scaffolding.records import VOCABULARY, Record

from allod.core.ids import RequestId, SequenceId, TenantId
from allod.core.messages import Refused, Stepped, Submit
from allod.core.pictures import Digest, PictureSpan, Sight, Tensor
from allod.core.ports import Flight
from allod.core.sampling import Sampling
from allod.core.step import LayerState, StepPlan
from allod.engine.scheduler import Occupancy, Scheduler
from allod.engine.settings import EngineSettings
from allod.testing.models import tiny_facts
from allod.testing.runner import FakeRunner

CONTEXT = 160
FEATURE_BYTES = 3
PICTURE_TOKEN = 12
LAYER = LayerState("full", 1, bytes_per_token=10, fixed_bytes=0, window_tokens=None)
WINDOW = LayerState("sliding", 1, bytes_per_token=3, fixed_bytes=0, window_tokens=16)

SIZES = {number: (4 + 5 * number, 20 * (number + 1)) for number in range(5)}
"""Tokens and tensor bytes of the pictures there are; few, so that requests share them."""


def digest_of(number: int) -> Digest:
    return Digest(bytes([number + 1] * 32))


BYTES_OF = {digest_of(number): size for number, (_, size) in SIZES.items()}


@dataclass
class Wish:
    """What one client asks for: words and pictures, which are numbers below and above 100."""

    parts: list[int]
    samplings: list[Sampling]
    max_tokens: int
    batch: bool

    def laid_out(self) -> tuple[tuple[int, ...], tuple[PictureSpan, ...]]:
        tokens: list[int] = []
        spans: list[PictureSpan] = []
        for part in self.parts:
            if part < 100:
                tokens.append(part)
                continue
            length, size = SIZES[part - 100]
            spans.append(PictureSpan(len(tokens), length, digest_of(part - 100), size))
            tokens += [PICTURE_TOKEN] * length
        return tuple(tokens), tuple(spans)


WORD, PICTURE = st.integers(0, PICTURE_TOKEN), st.integers(100, 104)
SAMPLINGS = st.builds(
    Sampling,
    temperature=st.just(0.0),
    seed=st.none() | st.integers(0, 3),
    presence_penalty=st.sampled_from([0.0, 0.0, 0.5]),
)
WISHES = st.builds(
    Wish,
    parts=st.tuples(st.lists(WORD | PICTURE, max_size=7), WORD).map(lambda parts: [*parts[0], parts[1]]),
    samplings=st.lists(SAMPLINGS, min_size=1, max_size=2),
    max_tokens=st.integers(1, 12),
    batch=st.sampled_from([False, False, True]),
)


class SeeingMachine(RuleBasedStateMachine):
    """Every rule is something a gateway or the loop can do, in any order."""

    @initialize(
        whole=st.booleans(),
        cache_bytes=st.sampled_from([172, 200, 320, 2000]),
        spare_bytes=st.sampled_from([2600, 9000, 60_000]),
        batchable=st.sampled_from([True, True, False]),
        rows=st.sampled_from([1, 2, 4]),
        squared=st.sampled_from([0.0, 0.05]),
        chunk=st.sampled_from([16, 64]),
        layers=st.sampled_from([(LAYER,), (LAYER, WINDOW)]),
        kept=st.sampled_from([0, 500, 10**6, 10**6]),
    )
    def start(
        self,
        whole: bool,
        cache_bytes: int,
        spare_bytes: int,
        batchable: bool,
        rows: int,
        squared: float,
        chunk: int,
        layers: tuple[LayerState, ...],
        kept: int,
    ) -> None:
        sight = Sight(0, FEATURE_BYTES, 1.5, squared, cache_bytes, whole_spans=whole)
        self.facts = tiny_facts(
            vocabulary=VOCABULARY,
            context_tokens=CONTEXT,
            layers=layers,
            budget_bytes=1000 + cache_bytes + spare_bytes,
            transient_bytes_per_token=3,
            batchable=batchable,
            alone_because="" if batchable else "recurrent",
            sight=sight,
        )
        self.scheduler = Scheduler(
            self.facts,
            EngineSettings(
                max_batch_rows=rows,
                max_prefill_chunk_tokens=chunk,
                max_decode_stall_ms=30,
                prefix_cache_bytes=kept,
            ),
        )
        self.runner = FakeRunner(self.facts)
        self.records: dict[SequenceId, Record] = {}
        self.owed: list[Digest] = []
        self.held: set[Digest] = set()
        self.received = 0
        self.airborne: tuple[StepPlan, Flight] | None = None
        self.now = 0.0
        self.next_id = 0
        self.hungry = False

    @rule(wishes=st.lists(WISHES, min_size=1, max_size=4))
    def submit(self, wishes: list[Wish]) -> None:
        for wish in wishes:
            tokens, spans = wish.laid_out()
            ids = tuple(SequenceId(self.next_id + place) for place in range(len(wish.samplings)))
            self.next_id += len(ids)
            command = Submit(
                RequestId(f"r{ids[0]}"),
                ids,
                tuple(wish.samplings),
                tokens,
                wish.max_tokens,
                (),
                TenantId("t"),
                batch=wish.batch,
                pictures=spans,
            )
            if isinstance(self.scheduler.submit(command, self.now), Refused):
                continue
            for sequence, sampling in zip(ids, wish.samplings, strict=True):
                self.records[sequence] = Record(command, sampling, wish.max_tokens)

    @rule(pick=st.integers(0, 99), whole=st.booleans())
    def cancel(self, pick: int, whole: bool) -> None:
        """At any time, also of what waits for a picture that nobody will send."""
        if not self.records:
            return
        sequence = sorted(self.records)[-1 - pick % len(self.records)]
        sequences = self.records[sequence].submit.sequences if whole else (sequence,)
        self.scheduler.cancel(sequences)
        for each in sequences:
            self.records[each].cancelled |= self.records[each].finish is None

    @precondition(lambda self: self.owed)
    @rule(pick=st.integers(0, 99), twice=st.booleans())
    def supply(self, pick: int, twice: bool) -> None:
        """Late, and out of order; what was sent twice, or is wanted no more, is dropped."""
        digest = self.owed.pop(pick % len(self.owed))
        for _ in range(1 + twice):
            self.supply_one(digest)

    @rule(number=st.integers(0, 4))
    def supply_unasked(self, number: int) -> None:
        """A picture that may be asked for, held, seen, forgotten or unknown."""
        self.supply_one(digest_of(number))

    def supply_one(self, digest: Digest) -> None:
        if self.scheduler.supply(digest):
            assert digest not in self.held
            self.runner.receive(digest, [Tensor("pixels", "uint8", (1,), bytes(BYTES_OF[digest]))])
            self.held.add(digest)
            self.received += 1

    @rule(count=st.integers(1, 15))
    def some_steps(self, count: int) -> None:
        """Planning anew while a picture is missing is what the loop does after every command."""
        for _ in range(count):
            self.step()

    def step(self) -> None:
        """One turn of the worker's loop."""
        plan = self.scheduler.plan()
        self.held -= set(plan.forget)
        self.hear_wanted()
        self.check_one_kind_of_work(plan)
        launched = None if plan.is_empty else (plan, self.runner.launch(plan))
        self.hungry = plan.is_empty and self.airborne is None and not self.scheduler.idle
        assert not self.hungry or self.scheduler.waits, "work is left, and no picture is missing for it"
        if self.airborne is not None:
            flown, flight = self.airborne
            result = flight.collect()
            self.now += result.seconds
            self.take(self.scheduler.commit(flown, result, self.now))
        self.airborne = launched

    def hear_wanted(self) -> None:
        """A picture is named once, for a request that lives and has it, and never while it is held."""
        for wanted in self.scheduler.take_wanted():
            askers = [each for each in self.records.values() if each.submit.request == wanted.request]
            assert any(each.is_living for each in askers)
            known = {span.digest for span in askers[0].submit.pictures}
            assert wanted.digests
            assert len(set(wanted.digests)) == len(wanted.digests)
            for digest in wanted.digests:
                assert digest in known
                assert digest not in self.held, "a picture on the shelf is asked for"
                self.owed.append(digest)

    def check_one_kind_of_work(self, plan: StepPlan) -> None:
        """A step reads or looks; while a picture is looked at, whoever speaks goes on speaking."""
        assert not plan.prefill or plan.encode is None
        if plan.encode is not None:
            assert plan.encode.digest in self.held
            assert plan.encode.digest not in plan.forget

    def take(self, stepped: Stepped) -> None:
        for emission in stepped.emissions:
            record = self.records[emission.sequence]
            assert record.is_living
            record.tokens += emission.tokens
            record.finish = emission.finish

    @invariant()
    def the_shelf_is_never_too_full(self) -> None:
        assert self.facts.sight is not None
        assert self.scheduler.occupancy().picture_bytes <= self.facts.sight.cache_bytes

    @invariant()
    def what_stays_is_not_looked_at_twice(self) -> None:
        """Looking is done at most once for each time that the tensors came."""
        seen = self.runner.pictures_seen
        assert self.scheduler.occupancy().seen_pictures <= seen <= self.received

    @invariant()
    def answers_are_those_to_the_pictures(self) -> None:
        for record in self.records.values():
            assert tuple(record.tokens) == record.due

    def teardown(self) -> None:
        """Once pictures come, everything ends in a bounded time, and nothing stays promised."""
        if not hasattr(self, "records"):
            return
        turns = 0
        while not (self.scheduler.idle and self.airborne is None):
            self.step()
            if self.hungry:
                self.answer_all()
            turns += 1
            assert turns < 3000, "the engine does not come to rest"
        for record in self.records.values():
            assert (record.finish is not None) != record.cancelled
        assert (self.runner.rows, self.runner.parked, self.runner.states) == ((), (), ())
        self.check_shelf()

    def answer_all(self) -> None:
        assert self.owed, "the engine waits for a picture that it never asked for"
        owed, self.owed = self.owed, []
        for digest in owed:
            self.supply_one(digest)

    def check_shelf(self) -> None:
        """Pictures that were seen may stay; what is booked is at least what the runner holds, in its room."""
        assert self.facts.sight is not None
        occupancy = self.scheduler.occupancy()
        kept_bytes = self.runner.kept_bytes
        held_bytes = self.runner.memory().active_bytes - self.facts.weights_bytes - kept_bytes
        assert held_bytes <= occupancy.picture_bytes <= self.facts.sight.cache_bytes
        assert (occupancy.picture_bytes > 0) == bool(self.held), "a promise outlived who was promised"
        idle = Occupancy(0, 0, 0, 0, 0, 0, occupancy.picture_bytes, occupancy.seen_pictures, kept_bytes)
        assert occupancy == idle


SeeingMachine.TestCase.settings = hypothesis_settings(
    max_examples=min(60, hypothesis_settings().max_examples), stateful_step_count=40, deadline=None
)
TestSeeing = SeeingMachine.TestCase
