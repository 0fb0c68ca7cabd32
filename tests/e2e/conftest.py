"""Real servers: one with the starter model, one with small random models."""

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from tests.scaffolding.families import write_byte_tokenizer, write_random_model
from tests.scaffolding.server import RunningServer, running_server

from allod.registry.catalog import Catalog
from allod.registry.importing import import_path
from allod.registry.pull import pull
from allod.registry.starter import STARTER_NAME

KEPT_HOME = Path(__file__).parents[2] / ".cache" / "test-home"
"""The starter model is fetched once and kept between runs of the suite."""


@pytest.fixture(scope="session")
def starter_home() -> Path:
    catalog = Catalog(KEPT_HOME / "models")
    if not catalog.holds(STARTER_NAME):
        pull(catalog, STARTER_NAME, None, lambda _: None)
    return KEPT_HOME


@pytest.fixture(scope="session")
def starter_server(starter_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(starter_home, tmp_path_factory.mktemp("starter") / "log") as server:
        yield server


def home_with_random_model(folder: Path, family: str) -> Path:
    """A home that holds one small random model, named after its family."""
    source = folder / "source"
    write_random_model(family, source)
    write_byte_tokenizer(source)
    import_path(Catalog(folder / "home" / "models"), source, family.replace("_", "-"), lambda _: None)
    return folder / "home"


@pytest.fixture(scope="session")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return home_with_random_model(tmp_path_factory.mktemp("small"), "llama")


@pytest.fixture(scope="module")
def small_server(small_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(small_home, tmp_path_factory.mktemp("log") / "log") as server:
        yield server


@pytest.fixture
def starter(starter_server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=starter_server.openai_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def small(small_server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=small_server.openai_url, api_key="any", max_retries=0) as client:
        yield client
