"""What the scheduler keeps of prompts and answers, and which prompts go on from it."""

from collections.abc import Iterator

import msgspec
import pytest

from allod.core.ids import SequenceId, TenantId
from allod.core.messages import Admitted, PrefillProgress, Stepped, Submit
from allod.core.prefixes import PrefixEnd, PrefixMatch
from allod.core.step import Keep, LayerState, Restore, StepPlan
from allod.engine.scheduler import Scheduler
from allod.engine.settings import EngineSettings
from allod.testing.archive import FakeArchive
from allod.testing.models import submission, tiny_facts
from allod.testing.runner import FakeRunner, expected_tokens

FULL = LayerState("full", 1, bytes_per_token=10, fixed_bytes=0, window_tokens=None)
RECURRENT = LayerState("recurrent", 1, bytes_per_token=0, fixed_bytes=64, window_tokens=None)
WINDOW = LayerState("sliding", 1, bytes_per_token=3, fixed_bytes=0, window_tokens=16)


class House:
    """A scheduler and a strict runner, driven as the worker drives them."""

    def __init__(
        self,
        *,
        settings: EngineSettings | None = None,
        archive: FakeArchive | None = None,
        **changes: object,
    ) -> None:
        facts = tiny_facts(**changes)
        self.runner = FakeRunner(facts, archive=archive)
        self.engine = Scheduler(facts, settings or EngineSettings(), archive)
        self.plans: list[StepPlan] = []
        self.stepped: list[Stepped] = []

    def submit(self, submit: Submit) -> PrefixMatch | None:
        answer = self.engine.submit(submit, 0.0)
        assert isinstance(answer, Admitted)
        return answer.prefix

    def run(self, most: int = 1000) -> None:
        """Until there is nothing to do, or for some steps."""
        for _ in range(most):
            plan = self.engine.plan()
            if plan.is_empty:
                return
            self.plans.append(plan)
            result = self.runner.launch(plan).collect()
            self.stepped.append(self.engine.commit(plan, result, 0.0))

    def ask(self, submit: Submit) -> tuple[int, ...]:
        """The answer to one request."""
        self.submit(submit)
        start = len(self.stepped)
        self.run()
        emissions = [each for stepped in self.stepped[start:] for each in stepped.emissions]
        return tuple(token for each in emissions for token in each.tokens)

    @property
    def read_tokens(self) -> int:
        """Tokens of prompts that were read, over all steps."""
        return sum(len(chunk.tokens) for plan in self.plans for chunk in plan.prefill)

    @property
    def restored(self) -> Iterator[Restore]:
        return (step for plan in self.plans for step in plan.restore if isinstance(step, Restore))


def following(submit: Submit, *tokens: int) -> Submit:
    """A request whose prompt goes on behind another's."""
    number = submit.sequences[0] + 100
    return msgspec.structs.replace(
        submission(first=number, max_tokens=submit.max_tokens), tokens=(*submit.tokens, *tokens)
    )


def test_a_prompt_that_was_read_is_not_read_again():
    """All but its last token, which the first step of an answer reads; the answer is the same."""
    house, first = House(), submission(prompt=50)
    second = msgspec.structs.replace(submission(first=60), tokens=first.tokens)
    said = house.ask(first)
    assert house.read_tokens == 49
    assert house.ask(second) == said
    assert house.read_tokens == 49


def test_a_conversation_goes_on_behind_its_own_answer():
    """What was said was read as it was said; only the last token of it, and what is new, is read."""
    house, first = House(), submission(prompt=50, max_tokens=8)
    said = house.ask(first)
    turn = following(first, *said, 90, 91, 92)
    before = house.read_tokens
    answer = house.ask(turn)
    assert house.read_tokens - before == 1 + 2
    assert answer == expected_tokens(turn.tokens, turn.samplings[0], vocabulary=97, max_tokens=8)
    progress = [each for stepped in house.stepped for each in stepped.progress if each.cached_tokens]
    assert progress == [PrefillProgress(turn.request, 57, 61, 57)]


def test_two_prompts_that_come_together_read_what_they_share_once():
    """The second waits for the first, and then goes on from it."""
    house, first = House(), submission(prompt=60)
    second = following(first, 3, 4, 5)
    house.submit(first)
    house.submit(second)
    house.run()
    assert house.read_tokens == 59 + 1 + 2


def test_what_was_read_for_a_client_that_left_is_not_lost():
    """A client that gives up in the middle of a long prompt and comes again goes on where it was."""
    house = House(settings=EngineSettings(max_prefill_chunk_tokens=16))
    first = submission(prompt=90)
    house.submit(first)
    house.run(most=3)
    house.engine.cancel(first.sequences)
    house.run()
    read = house.read_tokens
    assert 16 <= read < 89
    house.ask(following(first))
    assert house.read_tokens == 89


def test_tenants_learn_nothing_of_each_other():
    """The same prompt of another tenant is read anew, and is told nothing else."""
    house, first = House(), submission(prompt=50)
    house.ask(first)
    other = msgspec.structs.replace(following(first), tenant=TenantId("other"))
    assert house.submit(other) == PrefixMatch(0, 0, "new")
    house.run()
    assert house.read_tokens == 2 * 49


def test_nothing_is_kept_where_the_owner_wants_none():
    """With a limit of 0 there is no cache, and none is spoken of."""
    house, first = House(settings=EngineSettings(prefix_cache_bytes=0)), submission(prompt=50)
    assert house.submit(first) is None
    house.run()
    house.ask(following(first))
    assert house.read_tokens == 2 * 49
    assert all(plan.keep == plan.restore == () for plan in house.plans)


@pytest.mark.parametrize(
    ("tokens", "match"),
    [
        (tuple(range(50)), PrefixMatch(49, 49, "complete")),
        ((*range(57), 1, 2), PrefixMatch(49, 50, "differs")),
        ((*range(20), 96, 96), PrefixMatch(20, 20, "differs")),
        ((96, 95), PrefixMatch(0, 0, "differs")),
    ],
)
def test_a_request_is_told_what_it_will_reuse_and_why_not_more(tokens: tuple[int, ...], match: PrefixMatch):
    """Position and reason are those of the moment it came."""
    house = House()
    house.ask(submission(prompt=50, max_tokens=1))
    house.ask(msgspec.structs.replace(submission(prompt=50, max_tokens=1, first=70), tokens=(*range(50), 60)))
    asked = msgspec.structs.replace(submission(first=80, max_tokens=1), tokens=tokens)
    assert house.submit(asked) == match


def test_what_was_forgotten_is_called_so():
    """A prompt that was kept and made room for others is told apart from one that is new."""
    house = House(settings=EngineSettings(prefix_cache_bytes=600))
    house.ask(submission(prompt=50, max_tokens=1))
    for number in range(51, 90, 3):
        house.ask(msgspec.structs.replace(submission(first=number, max_tokens=1), tokens=(number,) * 50))
    match = house.submit(submission(prompt=50, first=0, max_tokens=1))
    ends: PrefixEnd = "forgotten"
    assert match == PrefixMatch(0, 0, ends)


def test_running_requests_go_before_what_is_kept():
    """A request that fits by itself is admitted at once, whatever is kept."""
    house = House(budget_bytes=1000 + 1600, settings=EngineSettings(prefix_cache_bytes=10**6))
    for number in range(0, 60, 20):
        house.ask(submission(prompt=30, first=number, max_tokens=1))
    assert house.engine.occupancy().prefix_bytes > 500
    large = submission(prompt=100, first=90, max_tokens=50)
    house.submit(large)
    house.run(most=1)
    assert house.plans[-1].prefill
    assert house.engine.occupancy().prefix_bytes < 300


def test_recurrent_layers_go_on_where_messages_begin():
    """A prompt pauses there, so that another which parts from it later in the message goes on from there."""
    house = House(layers=(FULL, RECURRENT))
    first = submission(prompt=60, boundaries=(20, 40))
    house.ask(first)
    tips = [
        step.end for plan in house.plans for step in (*plan.keep, *plan.restore) if isinstance(step, Keep)
    ]
    assert tips == [20, 40, 59, 67]
    parting = msgspec.structs.replace(submission(first=90), tokens=(*range(45), 90, 91, 92))
    assert house.submit(parting) == PrefixMatch(40, 45, "no_state")
    house.run()
    assert house.read_tokens == 59 + 7


def test_windows_are_kept_where_messages_begin_without_a_pause():
    """What they held there is cut out of the chunk that went on."""
    house = House(layers=(FULL, WINDOW))
    house.ask(submission(prompt=30, boundaries=(10, 20)))
    steps = [step for plan in house.plans for step in (*plan.keep, *plan.restore)]
    assert [step.end for step in steps if isinstance(step, Keep)] == [10, 20, 29, 37]
    assert [len(chunk.tokens) for plan in house.plans for chunk in plan.prefill] == [29]


@pytest.mark.parametrize("by_chance", [0, 3, 8])
def test_where_two_prompts_part_a_third_goes_on(by_chance: int):
    """A little before, since two may have agreed by chance in what a third has not."""
    house = House(layers=(FULL, RECURRENT))
    first = tuple(range(60))
    house.ask(msgspec.structs.replace(submission(), tokens=first))
    for number, shared in ((1, 30 + by_chance), (2, 30)):
        tokens = (*first[:shared], 90 + number, 91, 92)
        house.ask(msgspec.structs.replace(submission(first=100 * number), tokens=tokens))
    last = list(house.restored)[-1]
    assert sum(used for _, used in last.parts) == 22 + by_chance
    assert house.read_tokens == 59 + 32 + 10


def test_where_a_message_begins_is_near_enough_to_where_two_prompts_part():
    """A tip at every place between would hold much for little."""
    house = House(layers=(FULL, RECURRENT))
    house.ask(submission(prompt=60))
    for number in (1, 2):
        tokens = (*range(30), 90 + number, 91, 92)
        submit = msgspec.structs.replace(submission(first=100 * number), tokens=tokens, boundaries=(27,))
        house.ask(submit)
    assert sum(used for _, used in list(house.restored)[-1].parts) == 27
    assert house.read_tokens == 59 + 32 + 5


def test_a_state_that_cannot_be_kept_is_not():
    """The facts of the model decide, not the settings."""
    house, first = House(unkept_because="a probe said so"), submission(prompt=50)
    assert house.submit(first) is None
    house.run()
    assert house.engine.occupancy().prefix_bytes == 0


def test_rows_of_one_request_share_what_they_read():
    """Choices of one prompt leave one prompt behind, and an answer each."""
    house = House()
    first = submission(prompt=50, choices=2, max_tokens=8)
    house.ask(first)
    kept = house.engine.occupancy().prefix_bytes
    assert kept == 10 * (50 + 7)
    assert SequenceId(0) not in house.runner.rows
