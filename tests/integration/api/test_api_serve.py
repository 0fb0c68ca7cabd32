"""The whole gateway as a process: what stops the start, and how it stops."""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx2
import msgspec
import pytest

from allod.api.listen import base_url, bind
from allod.api.settings import ApiSettings
from allod.app import build, preload, preloaded, serve, worker_command
from allod.config import Settings, WorkerSettings
from allod.core.card import ModelCard
from allod.core.errors import ConfigurationError, ModelUnavailable
from allod.core.hosting import HostedModel
from allod.local.settings import LocalSettings
from allod.registry.catalog import Catalog

PROGRAM = """
import sys
from pathlib import Path
from allod.api.settings import ApiSettings
from allod.app import serve
from allod.config import Settings
settings = Settings(home=Path(sys.argv[1]), api=ApiSettings(port=0, host=sys.argv[2]))
sys.exit(serve(settings, lambda url: print(url, flush=True)))
"""


@pytest.fixture
def add(tmp_path: Path, make_card: Callable[[str], ModelCard]) -> Callable[[str], None]:
    """Puts a model that cannot be loaded into the catalogue."""

    def put(name: str) -> None:
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "card.json").write_bytes(msgspec.json.encode(make_card(name)))

    return put


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_is_an_orderly_stop(tmp_path: Path, number: signal.Signals) -> None:
    """The server answers, and after the signal exits with 0 and without a traceback."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(tmp_path), "localhost",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(30):
            url = (await process.stdout.readline()).decode().strip()
            async with httpx2.AsyncClient(base_url=url) as client:
                assert (await client.get("/health")).json() == {"status": "ok"}
                assert (await client.get("/ready")).status_code == 200
            process.send_signal(number)
            assert await process.wait() == 0
            assert b"Traceback" not in await process.stderr.read()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_a_taken_port_stops_the_start(tmp_path: Path) -> None:
    """The message names the port and the flag that chooses another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port} .*--port"):
            serve(Settings(home=tmp_path, api=ApiSettings(port=port)))
        with pytest.raises(ConfigurationError, match=str(port)):
            bind(ApiSettings(host="localhost", port=port))


def test_a_foreign_address_stops_the_start() -> None:
    """An address that is not this machine's is named."""
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1"):
        bind(ApiSettings(host="192.0.2.1", port=0))


def test_localhost_is_both_loopback_addresses() -> None:
    """Clients that resolve the name to either address reach the server, on one port."""
    sockets = bind(ApiSettings(host="localhost", port=0))
    try:
        assert {bound.getsockname()[1] for bound in sockets} == {sockets[0].getsockname()[1]}
        assert [bound.getsockname()[0] for bound in sockets] in (["127.0.0.1", "::1"], ["127.0.0.1"])
    finally:
        for bound in sockets:
            bound.close()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("localhost", "http://localhost:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::1", "http://[::1]:1"),
    ],
)
def test_the_address_to_try(host: str, url: str) -> None:
    """What is printed can be pasted on this machine."""
    assert base_url(ApiSettings(host=host), 1) == url


def test_an_open_door_beyond_loopback_stops_the_start(tmp_path: Path) -> None:
    """Before anything is loaded or bound."""
    with pytest.raises(ConfigurationError, match="allod keys add"):
        build(Settings(home=tmp_path, api=ApiSettings(host="0.0.0.0")))


def test_what_is_preloaded(tmp_path: Path, add: Callable[[str], None]) -> None:
    """The named models, else the only one, else none; a name that is unknown or too many stops the start."""

    def names(*named: str, places: int = 1) -> list[str]:
        api, local = ApiSettings(preload=named), LocalSettings(max_resident_models=places)
        settings = Settings(home=tmp_path, api=api, local=local)
        return [card.name for card in preloaded(settings, Catalog(settings.models_folder))]

    assert names() == []
    add("one")
    assert names() == ["one"]
    add("two")
    assert names() == []
    assert names("two") == ["two"]
    assert names("two", "one", places=2) == ["two", "one"]
    with pytest.raises(ConfigurationError, match=r"api\.preload.*three"):
        names("three")
    with pytest.raises(ConfigurationError, match=r"local\.max_resident_models"):
        names("one", "two")


async def test_what_is_preloaded_is_prepared_beside_it(
    make_card: Callable[[str], ModelCard], caplog: pytest.LogCaptureFixture
) -> None:
    """Prompts of models that generate; whatever fails is told, and the next model has its turn."""
    done: list[str] = []

    class Host:
        def hosted(self) -> Sequence[HostedModel]:
            return ()

        async def inspect(self) -> Sequence[HostedModel]:
            return ()

        async def load(self, card: ModelCard) -> None:
            done.append(f"load {card.name}")
            if card.name == "a":
                raise ModelUnavailable("no weights")

    async def prepare(card: ModelCard) -> None:
        done.append(f"prepare {card.name}")
        if card.name == "b":
            raise RuntimeError

    embeds = msgspec.structs.replace(make_card("c"), purpose="embedding")
    await preload(Host(), prepare, (make_card("a"), make_card("b"), embeds))
    assert done == ["load a", "prepare a", "load b", "prepare b", "load c"]
    assert [record.getMessage() for record in caplog.records] == [
        "model a is not loaded: no weights",
        "model b is not loaded",
    ]


def test_the_command_of_a_worker(tmp_path: Path, add: Callable[[str], None]) -> None:
    """This interpreter, the model's folder, and settings that read back as they were."""
    add("one")
    settings = Settings(home=tmp_path)
    catalog = Catalog(settings.models_folder)
    python, *flags = worker_command(settings, catalog)(catalog.named("one"))
    assert python == sys.executable
    assert flags[:5] == ["-m", "allod.worker", "--model", str(tmp_path / "models" / "one"), "--settings"]
    limit = str(catalog.named("one").context_tokens)
    measured = str(tmp_path / "measured" / "one.json")
    prefixes = str(tmp_path / "prefixes" / "one")
    kept = ["--measured", measured, "--prefixes", prefixes]
    assert flags[6:] == ["--context-tokens", limit, "--purpose", "text", *kept]
    assert WorkerSettings.from_json(flags[5]) == WorkerSettings.of(settings)


def test_the_command_of_a_worker_with_a_draft_model(tmp_path: Path, add: Callable[[str], None]) -> None:
    """Its folder and context go with the model's; one that is gone is named too, for the worker to miss."""
    for name in ("one", "two"):
        add(name)
    settings = Settings(home=tmp_path)
    catalog = Catalog(settings.models_folder)
    card = msgspec.structs.replace(catalog.card("one"), draft="two")
    context = str(catalog.card("two").context_tokens)
    folder = str(tmp_path / "models" / "two")
    command = worker_command(settings, catalog)
    assert command(card)[-4:] == ("--draft", folder, "--draft-context-tokens", context)
    catalog.remove("two")
    assert command(card)[-2:] == ("--draft", folder)
    assert "--draft" not in worker_command(settings, catalog, "pictures")(card)
