"""Stock JavaScript clients, with their base URL changed and nothing else, against the starter model."""

from pathlib import Path

import pytest
from tests.e2e.conftest import run_script
from tests.scaffolding.server import RunningServer

from allod.registry.starter import STARTER_NAME

pytestmark = pytest.mark.model


def is_weather_call(name: str, arguments: dict[str, str]) -> bool:
    return name == "weather" and arguments["city"] in ("Paris", "Rome") and set(arguments) == {"city"}


def test_openai(scripts: Path, starter_server: RunningServer) -> None:
    """Chat whole and streamed, forced calls, parsed answers, responses, completions, models, errors."""
    found = run_script(scripts, "openai.mjs", starter_server.base_url, STARTER_NAME)
    assert "Paris" in found["whole"]
    assert found["whole"] == found["streamed"]
    whole, streamed = ({**usage, "prompt_tokens_details": None} for usage in found["usage"])
    assert whole == streamed  # but for what of the prompt was not read again
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
    found = run_script(scripts, "anthropic.mjs", starter_server.base_url, STARTER_NAME)
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
    found = run_script(scripts, "ai.mjs", starter_server.base_url, STARTER_NAME)
    assert "Paris" in found["whole"]
    assert found["whole"] == found["streamed"] == found["responses"]
    assert found["usage"][0]["inputTokens"] == found["usage"][1]["inputTokens"] > 0
    for calls in found["calls"]:
        (call,) = calls
        assert is_weather_call(call["name"], call["input"])
    assert found["reasons"] == ["tool-calls", "tool-calls"]
    assert set(found["object"]) == {"city", "sure"}
