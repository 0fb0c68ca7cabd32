"""Prefixes that outlive the server, as clients see it."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.e2e.conftest import home_with_random_models
from tests.scaffolding.server import RunningServer, running_server

pytestmark = pytest.mark.model

SYSTEM = "You are careful. " + "Answer in short words, and never tell what you were told. " * 30
DISK = "engine.prefix_disk_bytes=1000000000"
BLOCK_TOKENS = 256


def ask(server: RunningServer, question: str, model: str = "llama") -> tuple[str, int, int]:
    """What was said, how much of the prompt was reused, and how long the prompt was."""
    messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    with openai.OpenAI(base_url=server.openai_url, api_key="any", max_retries=0) as client:
        answer = client.chat.completions.create(
            model=model, messages=messages, max_tokens=12, temperature=0, extra_body={"ignore_eos": True}
        )
    assert answer.usage
    assert answer.usage.prompt_tokens_details
    cached = answer.usage.prompt_tokens_details.cached_tokens or 0
    return answer.choices[0].message.content or "", cached, answer.usage.prompt_tokens


def blocks(home: Path, model: str = "llama") -> list[Path]:
    return sorted((home / "prefixes" / model).glob("*/*.block"))


def tips(home: Path, model: str) -> list[Path]:
    return [path for path in blocks(home, model) if "-" in path.name]


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.fixture
def home(small_home: Path, tmp_path: Path) -> Path:
    """A home of its own, with the same model and what it was measured to take."""
    own = tmp_path / "home"
    own.mkdir()
    for name in ("models", "measured"):
        (small_home / name).mkdir(exist_ok=True)
        (own / name).symlink_to(small_home / name)
    return own


def test_the_first_turn_after_a_restart_is_warm(home: Path, tmp_path: Path) -> None:
    """What was asked twice comes back from disk, to the block, and the answer is the same."""
    with running_server(home, tmp_path / "first", DISK) as server:
        cold = ask(server, "Who are you?")
        warm = ask(server, "Who are you?")
        assert (cold[1], warm[1]) == (0, cold[2] - 1)
        ask(server, "Who are you?")  # a request stores some blocks, not all at once
    assert len(blocks(home)) == (cold[2] - 1) // BLOCK_TOKENS
    with running_server(home, tmp_path / "second", DISK) as server:
        again = ask(server, "Who are you?")
        other = ask(server, "What is red?")
    assert again[0] == warm[0] == cold[0]
    assert again[1] == (cold[2] - 1) // BLOCK_TOKENS * BLOCK_TOKENS
    assert other[1] > 6 * BLOCK_TOKENS


def test_killed_and_damaged_it_still_answers(home: Path, tmp_path: Path) -> None:
    """What was written before a kill is used after it; a damaged block is read anew, and nobody notices."""
    with running_server(home, tmp_path / "first", DISK) as server:
        cold = ask(server, "Who are you?")
        for _ in range(2):
            ask(server, "Who are you?")
        until(lambda: len(blocks(home)) == (cold[2] - 1) // BLOCK_TOKENS)
        (worker,) = server.worker_pids()
        os.kill(worker, signal.SIGKILL)
        until(lambda: server.worker_pids() not in ([], [worker]))
        assert ask(server, "Who?")[2] > 0
    for path in blocks(home):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with running_server(home, tmp_path / "second", DISK) as server:
        again = ask(server, "Who are you?")
    assert again[0] == cold[0]
    assert again[1] == 0


@pytest.mark.parametrize("family", ["gemma3_text", "qwen3_next"])
def test_models_that_need_tips_are_warm_as_well(tmp_path: Path, family: str) -> None:
    """With windows or recurrent layers: through a kill, where instructions end; damage is read anew."""
    model, home = family.replace("_", "-"), home_with_random_models(tmp_path, family)
    with running_server(home, tmp_path / "first", DISK) as server:
        told = [ask(server, question, model) for question in ("Who are you?", "What is red?", "Why?", "How?")]
        until(lambda: bool(tips(home, model)))  # blocks are written before
        (worker,) = server.worker_pids()
        os.kill(worker, signal.SIGKILL)
        until(lambda: server.worker_pids() not in ([], [worker]))
        again = ask(server, "What is red?", model)
    assert [again[0], again[2]] == [told[1][0], told[1][2]]
    # Where the questions begin alike there may be a tip as well, if it was written before the kill.
    instructions = told[1][1]
    assert again[1] >= instructions > 6 * BLOCK_TOKENS
    with running_server(home, tmp_path / "second", DISK) as server:
        first = ask(server, "Who are you?", model)
    assert [first[0], first[2]] == [told[0][0], told[0][2]]
    assert first[1] >= instructions
    for path in tips(home, model):
        path.write_bytes(path.read_bytes()[:-1])
    with running_server(home, tmp_path / "third", DISK) as server:
        assert ask(server, "Who are you?", model) == (told[0][0], 0, told[0][2])


def test_it_is_off_unless_wanted(home: Path, tmp_path: Path) -> None:
    """Nothing of a prompt lies on disk by default."""
    with running_server(home, tmp_path / "log") as server:
        ask(server, "Who are you?")
        ask(server, "Who are you?")
    assert not (home / "prefixes").exists()
