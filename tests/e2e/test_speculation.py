"""Speculation as clients see it: the same text, in fewer steps."""

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
            max_tokens=32,
            extra_body={"ignore_eos": True},
            **sampling,
        )
    return answer.choices[0].message.content or ""


def drafts(server: RunningServer) -> tuple[int, int]:
    (model,) = httpx2.get(f"{server.base_url}/ready", timeout=10).json()["models"]
    return model["drafted_tokens"], model["accepted_tokens"]


def test_text_is_the_same_and_drafts_were_used(starter_home: Path, tmp_path: Path) -> None:
    """At temperature 0, and with a seed: with speculation and without, for what repeats and what does not."""
    found: dict[str, list[str]] = {}
    for speculation in ("auto", "off"):
        setting = f"engine.speculation={speculation}"
        with running_server(starter_home, tmp_path / speculation, setting) as server:
            found[speculation] = [
                text_of(server, REPEATING, temperature=0),
                text_of(server, PROSE, temperature=0),
                text_of(server, REPEATING, temperature=0.4, seed=5),
            ]
            drafted, accepted = drafts(server)
        if speculation == "off":
            assert (drafted, accepted) == (0, 0)
        else:
            assert drafted >= accepted > 0
    assert found["auto"] == found["off"]
