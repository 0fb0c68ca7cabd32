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
from allod.registry.starter import STARTER_NAME

pytestmark = pytest.mark.model

BENCH = Path(__file__).parents[2] / "bench" / "draft_models.py"
PROSE: list[Any] = [{"role": "user", "content": "Tell me about the river that runs through your town."}]
TIMES = 3
"""The model has so many times as many layers as the one that drafts for it, and says the same."""


@pytest.fixture(scope="module")
def paired_home(starter_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paired")
    catalog = Catalog(folder / "home" / "models")
    starter = starter_home / "models" / STARTER_NAME
    runpy.run_path(str(BENCH))["deepen"](starter, folder / "deep", TIMES)
    for source, name in ((folder / "deep", "deep"), (starter, "starter")):
        import_path(catalog, source, name, lambda _: None)
    pair(catalog, "deep", "starter")
    return folder / "home"


def text_of(server: RunningServer, **sampling: Any) -> str:
    with openai.OpenAI(base_url=server.openai_url, api_key="any", max_retries=0) as client:
        answer = client.chat.completions.create(
            model="deep", messages=PROSE, max_tokens=24, extra_body={"ignore_eos": True}, **sampling
        )
    return answer.choices[0].message.content or ""


def test_text_is_the_same_and_guesses_were_used(paired_home: Path, tmp_path: Path) -> None:
    """At temperature 0, and with a seed: prose comes in fewer steps, and not a letter is another."""
    found: dict[str, list[str]] = {}
    for speculation in ("auto", "off"):
        settings = (f"engine.speculation={speculation}", "api.preload=deep")
        with running_server(paired_home, tmp_path / speculation, *settings) as server:
            found[speculation] = [
                text_of(server, temperature=0),
                text_of(server, temperature=0.7, top_p=0.95, seed=5),
            ]
            (model,) = httpx2.get(f"{server.base_url}/ready", timeout=10).json()["models"]
            guessed, accepted = model["guessed_tokens"], model["accepted_guessed_tokens"]
        if speculation == "off":
            assert (guessed, accepted) == (0, 0)
        else:
            assert guessed >= accepted > 0
    assert found["auto"] == found["off"]


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
