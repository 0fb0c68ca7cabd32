"""What the fake forbids about pictures: a check that never fires would prove nothing."""

import pytest

from allod.core.ids import SequenceId
from allod.core.pictures import Digest, PictureSpan, Sight, Tensor
from allod.core.sampling import Sampling
from allod.core.step import Encode, Encoded, Join, Prefill, Shown, StepPlan
from allod.testing.contract import ContractViolation
from allod.testing.costs import FakeCosts
from allod.testing.models import tiny_facts
from allod.testing.pictures import PIECES
from allod.testing.runner import FakeRunner, expected_tokens

ONE = SequenceId(1)
DIGEST = Digest(bytes([7] * 32))
PICTURE = (9, 8, 8, 9)
PENALTY = Sampling(temperature=0.0, presence_penalty=1.0)


def seeing(**changes: object) -> FakeRunner:
    plain: dict[str, object] = {
        "weights_bytes": 0,
        "feature_bytes_per_token": 2,
        "transient_per_byte": 0.0,
        "transient_per_byte_squared": 0.0,
        "cache_bytes": 100,
    }
    return FakeRunner(tiny_facts(sight=Sight(**(plain | changes))))  # pyright: ignore[reportArgumentType]


def tensors(size: int = 50) -> tuple[Tensor, ...]:
    return (Tensor("pixels", "uint8", (size,), bytes(size)),)


def look(runner: FakeRunner, seconds: float = 1000.0) -> Encoded | None:
    return runner.launch(StepPlan(encode=Encode(DIGEST, PICTURE, seconds))).collect().encoded


def seen(**changes: object) -> FakeRunner:
    runner = seeing(**changes)
    runner.receive(DIGEST, tensors())
    look(runner)
    return runner


def read(runner: FakeRunner, tokens: tuple[int, ...], *parts: Shown) -> None:
    runner.launch(StepPlan(prefill=(Prefill(ONE, tokens, parts),))).collect()


def test_a_row_says_what_is_expected_of_its_pictures():
    """The token function sees the picture, not the tokens that stand for it; in any cut."""
    runner = seen()
    read(runner, (1, 9, 8), Shown(DIGEST, 1, 0, 2))
    read(runner, (8, 9), Shown(DIGEST, 0, 2, 2))
    join = Join(ONE, ((ONE, PENALTY),), 3, (1, *PICTURE, 3))
    said = [runner.launch(StepPlan(join=(join,), decode=(ONE,))).collect()]
    said += [runner.launch(StepPlan(decode=(ONE,))).collect() for _ in range(3)]
    whole = expected_tokens(
        (1, *PICTURE, 3), PENALTY, vocabulary=97, max_tokens=4, pictures=(PictureSpan(1, 4, DIGEST, 50),)
    )
    assert tuple(each.sampled[0].token for each in said) == whole
    assert whole != expected_tokens((1, *PICTURE, 3), PENALTY, vocabulary=97, max_tokens=4)


def test_penalties_look_at_the_tokens_that_stand_for_pictures():
    """A join that names other words than were read is seen through, pictures or not."""
    runner = seen()
    read(runner, (1, *PICTURE), Shown(DIGEST, 1, 0, 4))
    with pytest.raises(ContractViolation, match="other than the one prefilled"):
        runner.launch(StepPlan(join=(Join(ONE, ((ONE, PENALTY),), 3, (1, 9, 8, 9, 9, 3)),), decode=(ONE,)))


def test_looking_goes_on_piece_by_piece():
    """It says how far it is, takes time for what it did, and ends with the tensors gone."""
    runner = FakeRunner(seeing().facts, costs=FakeCosts(piece_seconds=2.0))
    runner.receive(DIGEST, tensors())
    first = runner.launch(StepPlan(encode=Encode(DIGEST, PICTURE, 5.0))).collect()
    assert (first.encoded, first.seconds) == (Encoded(DIGEST, 2, PIECES - 2), 4.0)
    held_bytes = runner.memory().active_bytes
    assert look(runner, 1000.0) == Encoded(DIGEST, PIECES - 2, 0)
    assert held_bytes - runner.memory().active_bytes == 50 - 2 * len(PICTURE)
    assert look(runner) == Encoded(DIGEST, 0, 0)
    assert runner.pictures_seen == 1


@pytest.mark.parametrize("part", [Shown(DIGEST, 0, 0, 4), Shown(DIGEST, 1, 1, 3), Shown(DIGEST, 1, 0, 0)])
def test_a_part_stands_where_its_tokens_are(part: Shown):
    """Neither beside them, nor another part, nor none at all."""
    with pytest.raises(ContractViolation, match="where other tokens are"):
        read(seen(), (1, *PICTURE, 2), part)


def test_a_picture_that_was_not_looked_at_is_not_read():
    """Neither before all of it was seen nor after it was forgotten."""
    runner = seeing()
    runner.receive(DIGEST, tensors())
    look(runner, 0.0)
    with pytest.raises(ContractViolation, match="not looked at"):
        read(runner, PICTURE, Shown(DIGEST, 0, 0, 4))
    look(runner)
    runner.launch(StepPlan(forget=(DIGEST,))).collect()
    with pytest.raises(ContractViolation, match="not looked at"):
        read(runner, PICTURE, Shown(DIGEST, 0, 0, 4))


def test_a_picture_that_must_be_whole_is_not_cut():
    """Its tokens see each other both ways."""
    runner = seen(whole_spans=True)
    read(runner, (1, *PICTURE), Shown(DIGEST, 1, 0, 4))
    with pytest.raises(ContractViolation, match="in one chunk"):
        read(runner, PICTURE[:2], Shown(DIGEST, 0, 0, 2))


def test_what_comes_must_be_new_and_have_room():
    """Twice, too much, or to a model that does not see: all of it is against the port's rules."""
    runner = seeing()
    runner.receive(DIGEST, tensors())
    with pytest.raises(ContractViolation, match="comes twice"):
        runner.receive(DIGEST, tensors())
    look(runner)
    with pytest.raises(ContractViolation, match="comes twice"):
        runner.receive(DIGEST, tensors())
    with pytest.raises(ContractViolation, match="hold 108 of 100 bytes"):
        runner.receive(Digest(bytes(32)), tensors(100))
    with pytest.raises(ContractViolation, match="does not see"):
        FakeRunner(tiny_facts()).receive(DIGEST, tensors())


def test_only_what_came_is_looked_at_and_forgotten():
    """For some time, and not in a step that reads."""
    runner = seeing()
    with pytest.raises(ContractViolation, match="nothing was received"):
        look(runner)
    with pytest.raises(ContractViolation, match="unknown picture"):
        runner.launch(StepPlan(forget=(DIGEST,)))
    runner.receive(DIGEST, tensors())
    with pytest.raises(ContractViolation, match="no time"):
        look(runner, -1.0)
    both = StepPlan(prefill=(Prefill(ONE, (1,)),), encode=Encode(DIGEST, PICTURE, 1.0))
    with pytest.raises(ContractViolation, match="reads chunks or looks"):
        seen().launch(both)


def test_looking_must_fit_the_budget():
    """What it takes for the time being counts in the step that looks."""
    sight = Sight(0, 2, 30.0, 0.0, 100)
    needed_bytes = 1000 + 50 + 30 * 50
    for budget_bytes in (needed_bytes, needed_bytes - 1):
        runner = FakeRunner(tiny_facts(sight=sight, budget_bytes=budget_bytes))
        runner.receive(DIGEST, tensors())
        if budget_bytes == needed_bytes:
            look(runner, 0.0)
            continue
        with pytest.raises(ContractViolation, match="out of memory"):
            look(runner, 0.0)
