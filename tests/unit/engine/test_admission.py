"""What is refused at once, in which words, and which limit is obeyed."""

import pytest

from allod.core.messages import Refused, Submit
from allod.core.sampling import Sampling
from allod.engine.admission import Admission
from allod.engine.memory import MemoryModel
from allod.engine.settings import EngineSettings
from allod.testing.models import FULL_ATTENTION, submission, tiny_facts

GIB = 2**30


def judge(submit: Submit, **changes: object) -> int | Refused:
    model, limits = tiny_facts(**changes), EngineSettings(default_max_tokens=40)
    return Admission(model, limits, MemoryModel(model, limits.max_prefill_chunk_tokens)).limit(submit)


def reason(answer: int | Refused) -> tuple[str, str]:
    assert isinstance(answer, Refused)
    return answer.reason, answer.message


def test_an_explicit_limit_is_obeyed():
    """What was asked for and fits is what is given."""
    assert judge(submission(prompt=10, max_tokens=90), context_tokens=100) == 90


def test_no_limit_takes_the_default_then_the_context():
    """The default counts until the context is nearer."""
    assert judge(submission(prompt=10, max_tokens=None), context_tokens=100) == 40
    assert judge(submission(prompt=70, max_tokens=None), context_tokens=100) == 30
    assert judge(submission(prompt=99, max_tokens=None), context_tokens=100) == 1


def test_no_limit_takes_what_memory_allows_alone():
    """The answer is as long as the bytes allow when they are nearer than default and context."""
    tight = {"layers": (FULL_ATTENTION,), "capacity_step_tokens": 8, "weights_bytes": 0, "budget_bytes": 320}
    assert FULL_ATTENTION.bytes_per_token == 10
    assert judge(submission(prompt=10, max_tokens=None), **tight) == 32 - 10
    assert judge(submission(prompt=6, max_tokens=None, choices=2), **tight) == 16 - 6


def test_the_context_is_refused_in_openais_words():
    """Clients match on these sentences."""
    assert reason(judge(submission(prompt=60, max_tokens=41), context_tokens=100)) == (
        "context",
        "This model's maximum context length is 100 tokens. However, you requested 101 tokens (60 in the "
        "messages, 41 in the completion). Please reduce the length of the messages or completion.",
    )
    assert reason(judge(submission(prompt=100, max_tokens=None), context_tokens=100)) == (
        "context",
        "This model's maximum context length is 100 tokens. However, your messages resulted in 100 tokens. "
        "Please reduce the length of the messages.",
    )


def test_what_never_fits_is_refused_with_the_numbers():
    """The message holds need, budget, weights and the largest total that would fit; that total does fit."""
    model = {
        "layers": (FULL_ATTENTION,),
        "capacity_step_tokens": 1,
        "weights_bytes": GIB,
        "budget_bytes": GIB + 1000,
        "context_tokens": 10_000,
    }
    why, message = reason(judge(submission(prompt=30, max_tokens=21, choices=2), **model))
    assert why == "memory"
    for part in ("needs 1.00 GiB for 51 tokens", "30 in the messages", "21 in the completion", "2 choices"):
        assert part in message
    assert "Messages and completion of 50 tokens together would fit" in message
    assert judge(submission(prompt=30, max_tokens=20, choices=2), **model) == 20


def test_a_prompt_too_large_by_itself_is_told_what_would_fit():
    """The number is right also when the prompt alone is over it."""
    model = {"capacity_step_tokens": 1, "weights_bytes": 0, "budget_bytes": 1000}
    _, message = reason(judge(submission(prompt=200, max_tokens=None), **model))
    assert "Messages and completion of 100 tokens together would fit" in message


def test_rows_served_alone_need_memory_for_one():
    """Where rows do not share a step, the choices of a request never exist together."""
    model = {"capacity_step_tokens": 1, "weights_bytes": 0, "budget_bytes": 1000}
    request = submission(prompt=50, max_tokens=50, choices=4)
    assert reason(judge(request, **model))[0] == "memory"
    assert judge(request, batchable=False, alone_because="recurrent", **model) == 50


@pytest.mark.parametrize(
    ("submit", "part"),
    [
        (submission(prompt=0), "no tokens"),
        (submission(tokens=(3, 97)), "token 97 is outside the model's vocabulary; ids run from 0 to 96"),
        (submission(tokens=(-1, 3)), "token -1 is outside"),
        (submission(max_tokens=0), "max_tokens: 0 is less than 1"),
        (submission(choices=33), "33 choices are more than the 32 rows"),
        (submission(choices=0), "0 sequences"),
        (submission(samplings=(Sampling(), Sampling())), "2 samplings"),
    ],
)
def test_what_makes_no_sense_is_invalid(submit: Submit, part: str):
    """The message names the field and the value's problem."""
    why, message = reason(judge(submit, vocabulary=97))
    assert why == "invalid"
    assert part in message
