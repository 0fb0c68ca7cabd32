"""Draft models as owners and clients see them: paired by name, the same text, and never in the way."""

import runpy
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from tests.e2e.conftest import home_with_random_models
from tests.scaffolding.server import RunningServer, running_server

from allod.registry.catalog import Catalog
from allod.registry.importing import import_path
from allod.registry.pairing import pair

pytestmark = pytest.mark.model

DEEPEN = Path(__file__).parents[2] / "bench" / "deepen.py"
PROSE: list[Any] = [{"role": "user", "content": "Tell me about the river that runs through your town."}]
SAMPLINGS: list[dict[str, Any]] = [{"temperature": 0}, {"temperature": 0.7, "top_p": 0.95, "seed": 5}]
TIMES = 16
"""The model has so many times as many layers as the one that drafts for it, and says the same."""


@pytest.fixture(scope="module")
def paired_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model, and one of many more layers that says the same."""
    folder = tmp_path_factory.mktemp("paired")
    home = home_with_random_models(folder, "llama")
    runpy.run_path(str(DEEPEN))["deepen"](folder / "llama", folder / "deep", TIMES)
    catalog = Catalog(home / "models")
    import_path(catalog, folder / "deep", "deep", lambda _: None)
    pair(catalog, "deep", "llama")
    return home


def texts_of(server: RunningServer, model: str) -> list[str]:
    """At temperature 0, and with a seed."""
    found: list[str] = []
    with openai.OpenAI(base_url=server.openai_url, api_key="any", max_retries=0) as client:
        for sampling in SAMPLINGS:
            answer = client.chat.completions.create(
                model=model, messages=PROSE, max_tokens=24, extra_body={"ignore_eos": True}, **sampling
            )
            found.append(answer.choices[0].message.content or "")
    return found


def test_text_is_the_same_and_guesses_were_used(
    paired_home: Path, small_server: RunningServer, tmp_path: Path
) -> None:
    """Text comes in fewer steps, and is what the model says alone: the same letters as the small one's."""
    with running_server(paired_home, tmp_path / "log", "api.preload=deep") as server:
        found = texts_of(server, "deep")
        (model,) = httpx2.get(f"{server.base_url}/ready", timeout=10).json()["models"]
    assert model["guessed_tokens"] >= model["accepted_guessed_tokens"] > 0
    assert found == texts_of(small_server, "llama")


def test_a_pair_that_cannot_be_is_served_without(tmp_path: Path) -> None:
    """The model answers, and the list of models says why nobody drafts for it."""
    home = home_with_random_models(tmp_path, "llama", "mamba")
    pair(Catalog(home / "models"), "llama", "mamba")
    with running_server(home, tmp_path / "log", "api.preload=llama") as server:
        listed = {each["id"]: each for each in server.get("/v1/models").json()["data"]}
        assert listed["llama"]["draft_model"] == "mamba"
        assert "its ArraysCache cannot take back what it took in" in listed["llama"]["unpaired_because"]
        with openai.OpenAI(base_url=server.openai_url, api_key="any", max_retries=0) as client:
            answer = client.completions.create(model="llama", prompt="ab", max_tokens=5)
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 5
    assert "it is served without its draft model: mamba cannot follow a model" in (
        (tmp_path / "log").read_text()
    )
