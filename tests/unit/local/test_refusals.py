"""Why a request is not answered."""

import pytest
from tests.scaffolding.local_house import ask, card

from allod.core.errors import (
    AllodError,
    Busy,
    ContextLengthExceeded,
    InternalFailure,
    InvalidRequest,
    MemoryExceeded,
    ModelUnavailable,
)
from allod.core.ids import RequestId
from allod.core.messages import Refused
from allod.core.request import RawText, RawTokens
from allod.core.sampling import SamplingWishes
from allod.local.refusals import check, fitted, refusal

SMALL = card("small", context_tokens=100)


def test_the_context_may_be_filled_to_the_last_token() -> None:
    """Prompt and answer together may be as long as the context."""
    check(ask(max_tokens=60), (1,) * 40, SMALL)
    check(ask(max_tokens=None), (1,) * 99, SMALL)


def test_an_answer_is_made_shorter_only_where_that_is_asked_for() -> None:
    """It then fills what the context leaves; a prompt that does not fit alone is refused all the same."""
    wide = ask(max_tokens=500, lower_max_tokens=True)
    assert fitted(wide, 40, SMALL).max_tokens == 60
    assert fitted(wide, 200, SMALL).max_tokens == 1
    assert fitted(ask(max_tokens=500), 40, SMALL).max_tokens == 500
    assert fitted(ask(max_tokens=9, lower_max_tokens=True), 40, SMALL).max_tokens == 9
    with pytest.raises(ContextLengthExceeded):
        check(fitted(wide, 100, SMALL), (1,) * 100, SMALL)


def test_a_prompt_and_answer_that_do_not_fit_are_refused_with_the_numbers() -> None:
    """The message has the limit and every part of the sum."""
    with pytest.raises(ContextLengthExceeded) as caught:
        check(ask(max_tokens=61), (1,) * 40, SMALL)
    assert caught.value.message == (
        "This model's maximum context length is 100 tokens. However, you requested 101 tokens "
        "(40 in the messages, 61 in the completion). Please reduce the length of the messages or completion."
    )
    assert (caught.value.param, caught.value.code) == ("messages", "context_length_exceeded")


@pytest.mark.parametrize("length", [100, 101])
def test_a_prompt_that_leaves_no_room_is_refused(length: int) -> None:
    """Without max_tokens the prompt alone is at fault; room for one token is the least."""
    with pytest.raises(ContextLengthExceeded) as caught:
        check(ask(source=RawText("x"), max_tokens=None), (1,) * length, SMALL)
    assert caught.value.message == (
        f"This model's maximum context length is 100 tokens. However, your prompt resulted in {length} "
        "tokens. Please reduce the length of the prompt."
    )
    assert caught.value.param == "prompt"


@pytest.mark.parametrize("token", [-1, 300])
def test_tokens_outside_the_vocabulary_are_refused(token: int) -> None:
    """A raw token id the model does not know names the field and the range."""
    with pytest.raises(InvalidRequest, match="ids are 0 to 299") as caught:
        check(ask(source=RawTokens((1, token))), (1, token), SMALL)
    assert caught.value.param == "prompt"


def test_biased_tokens_outside_the_vocabulary_are_refused() -> None:
    """The same for logit_bias."""
    check(ask(sampling=SamplingWishes(logit_bias=((299, 1.0),))), (1,), SMALL)
    with pytest.raises(InvalidRequest, match="300") as caught:
        check(ask(sampling=SamplingWishes(logit_bias=((300, 1.0),))), (1,), SMALL)
    assert caught.value.param == "logit_bias"


def test_an_empty_prompt_is_refused() -> None:
    """A model needs one token to go on from."""
    with pytest.raises(InvalidRequest, match="no tokens") as caught:
        check(ask(source=RawText("")), (), SMALL)
    assert caught.value.param == "prompt"


@pytest.mark.parametrize(
    ("reason", "kind", "param"),
    [
        ("context", ContextLengthExceeded, "messages"),
        ("memory", MemoryExceeded, "messages"),
        ("invalid", InvalidRequest, None),
        ("queue_full", Busy, None),
        ("draining", ModelUnavailable, None),
        ("surprise", InternalFailure, None),
    ],
)
def test_every_reason_has_its_error(reason: str, kind: type[AllodError], param: str | None) -> None:
    """A worker's refusal becomes the error whose status and code fit it."""
    error = refusal(Refused(RequestId("r"), reason, "because"), "messages")
    assert type(error) is kind
    assert "because" in error.message
    assert error.param == param


def test_a_full_queue_says_when_to_come_back() -> None:
    """Retry-After comes from the worker's measured rate."""
    error = refusal(Refused(RequestId("r"), "queue_full", "full", retry_after_seconds=7), "messages")
    assert error.retry_after_seconds == 7
