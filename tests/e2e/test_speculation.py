"""Speculation as clients see it: the same text, in fewer steps."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from tests.scaffolding.server import RunningServer, running_server

pytestmark = pytest.mark.model

WORDS = "red green blue white black brown pink grey gold " * 4
ASKED = {"role": "user", "content": f"Write these words again and again, in this order: {WORDS}"}
REPEATING = [ASKED, {"role": "assistant", "content": WORDS}, ASKED]
"""Even a small model goes on like that."""

PROSE = [{"role": "user", "content": "Tell me about the river that runs through your town."}]


def text_of(server: RunningServer, messages: list[Any], **sampling: Any) -> str:
    with openai.OpenAI(base_url=server.openai_url, api_key="any", max_retries=0) as client:
        answer = client.chat.completions.create(
            model="smollm2-135m",
            messages=messages,
            max_tokens=24,
            extra_body={"ignore_eos": True},
            **sampling,
        )
    return answer.choices[0].message.content or ""


def drafts(server: RunningServer) -> tuple[int, int]:
    (model,) = httpx2.get(f"{server.base_url}/ready", timeout=10).json()["models"]
    return model["drafted_tokens"], model["accepted_tokens"]


def texts_at_once(server: RunningServer, asked: list[list[Any]], **sampling: Any) -> list[str]:
    """Answers that decode together."""
    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(lambda messages: text_of(server, messages, **sampling), asked))


def texts_of(server: RunningServer) -> list[str]:
    """What repeats and what does not, at temperature 0, and with a seed."""
    return [
        text_of(server, REPEATING, temperature=0),
        text_of(server, PROSE, temperature=0),
        text_of(server, REPEATING, temperature=0.4, seed=5),
    ]


def test_text_is_the_same_and_drafts_were_used(
    starter_home: Path, starter_server: RunningServer, tmp_path: Path
) -> None:
    """With speculation, which is what a server does unless told otherwise, and without."""
    before = drafts(starter_server)
    found = texts_of(starter_server)
    drafted, accepted = (now - earlier for now, earlier in zip(drafts(starter_server), before, strict=True))
    assert drafted >= accepted > 0
    with running_server(starter_home, tmp_path / "log", "engine.speculation=off") as server:
        assert texts_of(server) == found
        assert drafts(server) == (0, 0)


def test_answers_that_decode_together_say_what_each_says_alone(starter_server: RunningServer) -> None:
    """Whatever is drafted of three, which depends on what steps take on a machine as busy as this one."""
    asked = [
        [*REPEATING[:2], {"role": "user", "content": f"{ASKED['content']} {place}"}] for place in range(3)
    ]
    alone = [text_of(starter_server, messages, temperature=0) for messages in asked]
    assert texts_at_once(starter_server, asked, temperature=0) == alone
