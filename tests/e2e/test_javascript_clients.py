"""Stock JavaScript clients, with their base URL changed and nothing else, against the starter model."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.scaffolding.server import RunningServer

from allod.registry.starter import STARTER_NAME

pytestmark = pytest.mark.model

SOURCES = Path(__file__).parents[1] / "clients" / "javascript"
INSTALLED = Path(__file__).parents[2] / ".cache" / "javascript"
"""Packages are fetched once, exactly as the lock file has them, and kept between runs of the suite."""

Found = dict[str, Any]


@pytest.fixture(scope="session")
def scripts() -> Path:
    if shutil.which("npm") is None:
        pytest.skip("Node.js is not installed")
    lock = (SOURCES / "package-lock.json").read_bytes()
    kept = INSTALLED / "package-lock.json"
    if not kept.exists() or kept.read_bytes() != lock:
        shutil.rmtree(INSTALLED, ignore_errors=True)
        INSTALLED.mkdir(parents=True)
        shutil.copy(SOURCES / "package.json", INSTALLED)
        shutil.copy(SOURCES / "package-lock.json", INSTALLED)
        quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
        try:
            subprocess.run(["npm", "ci", *quiet], cwd=INSTALLED, check=True, capture_output=True, timeout=300)
        except subprocess.CalledProcessError as error:
            kept.unlink()
            pytest.fail(f"npm ci: {error.stderr.decode()[-2000:]}")
    for script in SOURCES.glob("*.mjs"):
        shutil.copy(script, INSTALLED)
    return INSTALLED


def run(scripts: Path, name: str, server: RunningServer) -> Found:
    command = ["node", "--no-warnings", str(scripts / name), server.base_url, STARTER_NAME]
    result = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    found: Found = json.loads(result.stdout.splitlines()[-1])
    return found


def is_weather_call(name: str, arguments: dict[str, str]) -> bool:
    return name == "weather" and arguments["city"] in ("Paris", "Rome") and set(arguments) == {"city"}


def test_openai(scripts: Path, starter_server: RunningServer) -> None:
    """Chat whole and streamed, forced calls, parsed answers, responses, completions, models, errors."""
    found = run(scripts, "openai.mjs", starter_server)
    assert "Paris" in found["whole"]
    assert found["whole"] == found["streamed"]
    assert found["usage"][0] == found["usage"][1]
    for call in found["calls"]:
        assert call["reason"] == "tool_calls"
        assert is_weather_call(call["name"], call["arguments"])
    assert set(found["parsed"]) == {"city", "sure"}
    assert found["response"][0] == found["response"][1] != ""
    assert found["eventTypes"][:2] == ["response.created", "response.in_progress"]
    assert found["eventTypes"][-1] in ("response.completed", "response.incomplete")
    assert found["chained"] is True
    assert found["completions"] == [0, 1]
    assert STARTER_NAME in found["models"]
    assert found["unknown"] == {"status": 404, "code": "model_not_found", "name": "NotFoundError"}


def test_anthropic(scripts: Path, starter_server: RunningServer) -> None:
    """Messages whole and streamed, a forced call and its result, counted tokens, errors."""
    found = run(scripts, "anthropic.mjs", starter_server)
    assert "Paris" in found["whole"]
    assert found["whole"] == found["streamed"]
    assert len(set(found["usage"])) == 1
    assert len(set(found["output"])) == 1
    assert found["eventTypes"][0] == "message_start"
    assert found["eventTypes"][-1] == "message_stop"
    assert found["call"]["reason"] == "tool_use"
    assert is_weather_call(found["call"]["name"], found["call"]["input"])
    assert found["call"]["id"].startswith("toolu_")
    assert found["after"] in ("end_turn", "max_tokens", "tool_use")
    assert found["unknown"] == {"status": 404, "type": "not_found_error", "name": "NotFoundError"}


def test_vercel_ai(scripts: Path, starter_server: RunningServer) -> None:
    """Text whole and streamed, forced calls, a made object, and the Responses provider."""
    found = run(scripts, "ai.mjs", starter_server)
    assert "Paris" in found["whole"]
    assert found["whole"] == found["streamed"] == found["responses"]
    assert found["usage"][0]["inputTokens"] == found["usage"][1]["inputTokens"] > 0
    for calls in found["calls"]:
        (call,) = calls
        assert is_weather_call(call["name"], call["input"])
    assert found["reasons"] == ["tool-calls", "tool-calls"]
    assert set(found["object"]) == {"city", "sure"}
