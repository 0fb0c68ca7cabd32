"""Pictures that can never be looked at are refused at once, in words that lead on."""

import pytest

from allod.core.messages import Admitted, Refused
from allod.core.pictures import Digest, PictureSpan, Sight
from allod.core.step import ModelFacts
from allod.engine.scheduler import Scheduler
from allod.engine.settings import EngineSettings
from allod.testing.models import submission, tiny_facts

MIB = 2**20
SIGHT = Sight(0, 1024, 1.0, 0.0, 64 * MIB)
SEEING = tiny_facts(sight=SIGHT)
ORDER = "messages: the places of the pictures are not in order, or not within the prompt"


def span(start: int, length: int, size: int = MIB) -> PictureSpan:
    return PictureSpan(start, length, Digest(bytes(32)), size)


def answer(*pictures: PictureSpan, facts: ModelFacts = SEEING, prompt: int = 20) -> Refused | Admitted:
    scheduler = Scheduler(facts, EngineSettings())
    return scheduler.submit(submission(prompt=prompt, pictures=pictures), 0.0)


def refused(*pictures: PictureSpan, facts: ModelFacts = SEEING) -> tuple[str, str]:
    found = answer(*pictures, facts=facts)
    assert isinstance(found, Refused)
    return found.reason, found.message


def test_a_model_without_sight_says_so():
    """And why, where it could see elsewhere."""
    blind = "messages: this model does not look at pictures here"
    assert refused(span(0, 2), facts=tiny_facts()) == ("invalid", f"{blind}; send words only")
    tight = tiny_facts(blind_because="its tower does not fit")
    assert refused(span(0, 2), facts=tight) == (
        "invalid",
        f"{blind}: its tower does not fit; send words only",
    )


@pytest.mark.parametrize(
    "pictures",
    [
        (span(-1, 2),),
        (span(4, 0),),
        (span(4, 3), span(6, 3)),
        (span(9, 2), span(3, 2)),
        (span(18, 3),),
    ],
    ids=["before the prompt", "empty", "overlapping", "backwards", "past the end"],
)
def test_places_that_are_none(pictures: tuple[PictureSpan, ...]):
    """A span is within the prompt, has tokens, and stands behind the one before."""
    assert refused(*pictures) == ("invalid", ORDER)


def test_words_follow_the_last_picture():
    """The last token is read by the first decode step, which reads tokens only."""
    assert refused(span(4, 16)) == (
        "invalid",
        "messages: the prompt ends with a picture; let words follow it",
    )
    assert isinstance(answer(span(4, 15)), Admitted)


def test_a_picture_that_never_fits_is_told_by_its_place():
    """With what it needs, what there is, and who can do what about it."""
    found = answer(span(0, 2), span(2, 2, 65 * MIB))
    assert isinstance(found, Refused)
    assert (found.reason, found.picture) == ("picture", 1)
    assert found.message == (
        "this picture needs 65.0 MiB, and 64.0 MiB are set aside for pictures; send it smaller or with low "
        "detail, or raise the setting runner.picture_cache_bytes"
    )


def test_tensors_and_features_fit_together_or_not_at_all():
    """To the byte: both are held at the moment that the picture is seen."""
    exact = SIGHT.cache_bytes - 2 * SIGHT.feature_bytes_per_token
    assert isinstance(answer(span(0, 2, exact)), Admitted)
    assert refused(span(0, 2, exact + 1))[0] == "picture"


def test_the_room_for_pictures_counts_against_the_budget():
    """What looking takes for the time being is part of what a request needs."""
    greedy = Sight(0, 1024, 1000.0, 0.0, 64 * MIB)
    facts = tiny_facts(sight=greedy, budget_bytes=2**29)
    assert isinstance(answer(facts=facts), Admitted)
    reason, message = refused(span(0, 2), facts=facts)
    assert reason == "memory"
    assert "but the budget is 0.50 GiB" in message
