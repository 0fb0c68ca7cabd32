"""A long prompt that arrives does not hold up those who are being answered."""

import itertools
import threading
import time

import openai
import pytest

from allod.registry.starter import STARTER_NAME

pytestmark = pytest.mark.model

LONGEST_SHARE = 1 / 4
"""Of the time that the long prompt takes: pieces of 0.25 s are some twentieths of it, the whole is all of it.
Seconds would depend on what else the machine does."""


def test_a_long_prompt_arrives_while_another_stream_decodes(starter: openai.OpenAI) -> None:
    """Between two tokens of the first stream lies at most one chunk of the newcomer's prompt."""
    arrivals: list[float] = []
    newcomer_done = threading.Event()
    reading_seconds: list[float] = []

    def newcomer() -> None:
        started = time.monotonic()
        starter.chat.completions.create(
            model=STARTER_NAME, messages=[{"role": "user", "content": "tell me more " * 240}], max_tokens=1
        )
        reading_seconds.append(time.monotonic() - started)
        newcomer_done.set()

    stream = starter.chat.completions.create(
        model=STARTER_NAME,
        messages=[{"role": "user", "content": "Tell me a long story."}],
        max_tokens=400,
        temperature=0,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    thread = threading.Thread(target=newcomer)
    with stream:
        for _ in stream:
            arrivals.append(time.monotonic())
            if len(arrivals) == 10:
                thread.start()
            if newcomer_done.is_set():
                break
    thread.join()
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals[9:])]
    assert newcomer_done.is_set()
    assert len(gaps) > 5
    assert max(gaps) < LONGEST_SHARE * reading_seconds[0], f"{max(gaps):.2f} s of {reading_seconds[0]:.2f}"
