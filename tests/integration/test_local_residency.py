"""Who is in memory, and when: real processes come and go."""

import asyncio
import os
from pathlib import Path

import pytest
from tests.scaffolding.local_house import CARD, PATIENCE_SECONDS, ask, card, drain, first, house

from allod.core.errors import ModelUnavailable
from allod.core.events import Finished, TextDelta

OTHER = card("other")
THIRD = card("third")


async def test_fifty_first_requests_start_one_process(tmp_path: Path) -> None:
    """However many requests come first, the model is loaded once, and all are answered."""
    async with house(tmp_path) as at:
        texts = await asyncio.gather(*(at.text() for _ in range(50)))
        assert set(texts) == {"abcdefgh"}
        assert at.starts_of("fable") == 1
        await at.is_clean()


async def test_a_swap_waits_for_the_lease(tmp_path: Path) -> None:
    """Another model is loaded only when the answer that is open has ended and its process has exited."""
    async with house(tmp_path, "--step-seconds", "0.005") as at:
        held = at.stream(ask(max_tokens=60))
        await first(held, TextDelta)
        swap = asyncio.create_task(at.text(of=OTHER))
        await at.until(lambda: at.hosted("other") is not None)
        assert at.starts_of("other") == 0
        rest = await drain(held)
        assert isinstance(rest[-1], Finished)
        assert await swap == "abcdefgh"
        with pytest.raises(ProcessLookupError):
            os.kill(at.pids_of("fable")[0], 0)
        assert [(model.name, model.phase, model.restarts) for model in at.residency.hosted()] == [
            ("fable", "cold", 0),
            ("other", "ready", 0),
        ]


async def test_the_least_recently_used_model_leaves(tmp_path: Path) -> None:
    """With two places, a third model takes that of the one whose last lease ended first."""
    async with house(tmp_path, max_resident_models=2) as at:
        await at.text()
        await at.text(of=OTHER)
        await at.text()
        await at.text(of=THIRD)
        phases = {model.name: model.phase for model in at.residency.hosted()}
        assert phases == {"fable": "ready", "other": "cold", "third": "ready"}
        assert await at.text(of=OTHER) == "abcdefgh"
        assert at.starts_of("fable") == 1


async def test_a_waiting_model_is_not_starved(tmp_path: Path) -> None:
    """Requests for the resident model that come after one for another model are answered after it."""
    async with house(tmp_path, "--step-seconds", "0.005") as at:
        held = at.stream(ask(max_tokens=60))
        await first(held, TextDelta)
        order: list[str] = []

        async def run(name: str) -> None:
            await at.text(of=card(name))
            order.append(name)

        swap = asyncio.create_task(run("other"))
        await at.until(lambda: at.hosted("other") is not None)
        later = asyncio.create_task(run("fable"))
        await drain(held)
        await asyncio.gather(swap, later)
        assert order == ["other", "fable"]


async def test_waiting_for_a_place_has_a_limit_and_an_end(tmp_path: Path) -> None:
    """A request that finds no place in time is told so, and leaves nothing in the queue."""
    async with house(tmp_path, "--step-seconds", "0.01", load_timeout_seconds=1.0) as at:
        held = at.stream(ask(max_tokens=4000))
        await first(held, TextDelta)
        with pytest.raises(ModelUnavailable, match="no place for the model 'other'"):
            async with at.residency.lease(OTHER):
                pass
        await held.aclose()
        assert await at.text() == "abcdefgh"
        assert at.starts_of("other") == 0


async def test_a_cancelled_wait_for_a_place_frees_those_behind(tmp_path: Path) -> None:
    """When the request at the head of the queue goes, the next ones are served at once."""
    async with house(tmp_path, "--step-seconds", "0.01") as at:
        held = at.stream(ask(max_tokens=4000))
        await first(held, TextDelta)
        head = asyncio.create_task(at.residency.load(OTHER))
        await at.until(lambda: at.hosted("other") is not None)
        behind = asyncio.create_task(at.residency.load(CARD))
        await asyncio.sleep(0)
        head.cancel()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await behind
        await held.aclose()
        await at.is_clean()
        assert at.starts_of("other") == 0


async def test_a_model_that_was_imported_again_gets_a_new_worker(tmp_path: Path) -> None:
    """A card that differs is another set of weights: the old worker leaves first."""
    async with house(tmp_path, max_resident_models=2) as at:
        await at.text()
        await at.text(of=card("fable", created=2))
        assert at.starts_of("fable") == 2
        with pytest.raises(ProcessLookupError):
            os.kill(at.pids_of("fable")[0], 0)


async def test_models_change_places_as_often_as_asked(tmp_path: Path) -> None:
    """Any mix of requests for three models in two places is answered, and nothing is left over."""
    async with house(tmp_path, max_resident_models=2) as at:
        cards = [CARD, OTHER, THIRD]
        texts = await asyncio.gather(*(at.text(of=cards[index % 3]) for index in range(12)))
        assert set(texts) == {"abcdefgh"}
        await at.is_clean()


async def test_loading_shows_its_stage_and_status_its_rows(tmp_path: Path) -> None:
    """`hosted` tells the stage while loading, and the worker's own numbers after an inspection."""
    os.mkfifo(tmp_path / "gate")
    async with house(tmp_path, "--gate", str(tmp_path / "gate"), "--step-seconds", "0.01") as at:
        loading = asyncio.create_task(at.residency.load(CARD))
        await at.until(lambda: (model := at.hosted()) is not None and model.detail != "")
        hosted = at.hosted()
        assert hosted is not None
        assert (hosted.phase, hosted.detail, hosted.fraction) == ("loading", "reading weights", 0.5)
        await asyncio.to_thread((tmp_path / "gate").write_text, "go")
        await loading
        stream = at.stream(ask(max_tokens=4000))
        await first(stream, TextDelta)
        (model,) = await at.residency.inspect()
        assert model.phase == "ready"
        assert model.requests == 1
        assert model.facts is not None
        assert model.status is not None
        assert model.status.rows == 1


async def test_closing_while_loading_ends_the_wait(tmp_path: Path) -> None:
    """Close does not wait for a load: who waits is told, and the process is ended."""
    os.mkfifo(tmp_path / "gate")
    async with house(tmp_path, "--gate", str(tmp_path / "gate")) as at:
        waiting = [asyncio.create_task(at.residency.load(model)) for model in (CARD, OTHER)]
        await at.reaches("loading")
        await at.until(lambda: at.starts_of("fable") == 1)
        await at.residency.close()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(outcome, ModelUnavailable) for outcome in outcomes)
        assert at.starts_of("other") == 0


async def test_a_lease_granted_to_someone_who_is_leaving_comes_back(tmp_path: Path) -> None:
    """A request cancelled in the very moment that its turn comes does not keep the place."""
    async with house(tmp_path) as at:
        held = at.residency.lease(CARD)
        await held.__aenter__()
        waits = asyncio.create_task(at.residency.load(OTHER))
        await asyncio.sleep(0)
        await held.__aexit__(None, None, None)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        assert [model.requests for model in at.residency.hosted()] == [0, 0]
        assert await at.text() == "abcdefgh"
