"""A run: probe the targets, then every scenario, every repeat, every case, and the targets in turn."""

import asyncio
import gc
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import uvloop

from allod.bench.client import Client, Target
from allod.bench.exchange import DROPPED
from allod.bench.figures import counted
from allod.bench.moments import Moment, OnMoment
from allod.bench.probe import probe
from allod.bench.report import (
    CaseReport,
    LeftOut,
    Machine,
    Report,
    Sample,
    TargetReport,
    ratios_of,
    result_of,
)
from allod.bench.scenarios import agent, connections, drops, models, single, stall, streams
from allod.bench.scenarios.base import Case, Sizing
from allod.bench.settings import BenchSettings
from allod.core.errors import ConfigurationError

_CASES: Mapping[str, Callable[[Sizing], Sequence[Case]]] = {
    scenario.NAME: scenario.cases for scenario in (single, streams, stall, agent, drops, models, connections)
}
_SPARE_FILES = 64
_NO_TIME = "no time was left; give more with --seconds"


@dataclass(slots=True)
class _Run:
    """What was measured so far, case by case and target by target."""

    clients: Sequence[Client]
    on_moment: OnMoment
    total: int
    done: int = 0
    samples: dict[tuple[str, str], list[list[Sample]]] = field(
        default_factory=dict[tuple[str, str], list[list[Sample]]]
    )
    left_out: list[LeftOut] = field(default_factory=list[LeftOut])

    async def scenario(self, cases: Sequence[Case], repeats: int, deadline: float) -> None:
        """Repeat by repeat, so that what the time does not allow is the last repeats of all cases."""
        for repeat in range(repeats):
            for case in cases:
                if time.monotonic() >= deadline:
                    self._skip(case, repeat, repeats)
                else:
                    await self._pair(case, repeat, repeats)

    async def _pair(self, case: Case, repeat: int, repeats: int) -> None:
        taken = self.samples.setdefault((case.scenario, case.name), [[] for _ in self.clients])
        for client, samples in zip(self.clients, taken, strict=True):
            words = f"{case.scenario}: {case.name}, {client.target.name}, {repeat + 1} of {repeats}"
            self.on_moment(Moment(words, self.done, self.total))
            samples.append(await _sample(case, client))
            self.done += 1

    def _skip(self, case: Case, repeat: int, repeats: int) -> None:
        what = f"{case.scenario}: {case.name}, repeat {repeat + 1} of {repeats}"
        self.left_out.append(LeftOut(what, _NO_TIME))
        self.done += len(self.clients)

    def report(self, case: Case) -> CaseReport | None:
        """The case, if there is a sample of it."""
        taken = self.samples.get((case.scenario, case.name))
        if taken is None:
            return None
        results = tuple(
            result_of(client.target.name, samples)
            for client, samples in zip(self.clients, taken, strict=True)
        )
        return CaseReport(case.scenario, case.name, case.size, results, ratios_of(results))


def measure(
    targets: Sequence[Target],
    settings: BenchSettings,
    machine: Machine,
    command: Sequence[str],
    on_moment: OnMoment,
) -> Report:
    """Measure the targets in turn.

    Args:
        targets: the first one is what the others are compared with.
        settings: what to measure.
        machine: where this runs.
        command: the command line, for the report.
        on_moment: told before each sample.

    Raises:
        ConfigurationError: two targets have one name, or a scenario is unknown.
        AllodError: a target is not there, or does not answer a plain question.
    """
    require_sense(targets, settings)
    _allow_files(
        max(settings.connections) if connections.NAME in settings.scenarios else max(settings.streams)
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(targets, settings, machine, command, on_moment))


def require_sense(targets: Sequence[Target], settings: BenchSettings) -> None:
    """Refuse what cannot be measured before anything is asked.

    Raises:
        ConfigurationError: names what, and the way out.
    """
    names = [target.name for target in targets]
    if len(set(names)) < len(names):
        raise ConfigurationError(f"two targets have one name ({', '.join(names)}); write NAME=URL")
    unknown = [name for name in settings.scenarios if name not in _CASES]
    if unknown:
        raise ConfigurationError(f"--scenario {unknown[0]}: there is no such one; known: {', '.join(_CASES)}")
    for target in targets:
        _ = target.address


async def _measure(
    targets: Sequence[Target],
    settings: BenchSettings,
    machine: Machine,
    command: Sequence[str],
    on_moment: OnMoment,
) -> Report:
    started, begun = datetime.now(UTC), time.monotonic()
    clients: list[Client] = []
    for target in targets:
        on_moment(Moment(f"asking {target.name} what it can", 0, 1))
        clients.append(await probe(target, settings.patience_seconds))
    sizing = Sizing.of(settings, clients)
    cases = {name: _CASES[name](sizing) for name in _CASES if name in settings.scenarios}
    total = settings.repeats * len(clients) * sum(map(len, cases.values()))
    run = _Run(clients, on_moment, total)
    for index, (name, some) in enumerate(cases.items()):
        left_seconds = settings.budget_seconds - (time.monotonic() - begun)
        deadline = time.monotonic() + left_seconds / (len(cases) - index)
        await run.scenario(some, settings.repeats, deadline)
        if not some:
            run.left_out.append(LeftOut(name, "it takes several models; name them with --model"))
    reports = [run.report(case) for some in cases.values() for case in some]
    return Report(
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - begun, 1),
        command=tuple(command),
        machine=machine,
        settings=settings,
        targets=tuple(
            TargetReport(client.target.name, client.target.url, client.models, client.abilities)
            for client in clients
        ),
        cases=tuple(report for report in reports if report is not None),
        left_out=tuple(run.left_out),
    )


async def _sample(case: Case, client: Client) -> Sample:
    gc.collect()
    gc.disable()  # a collection in the middle would be a gap that no server made
    try:
        client.begin_sample()
        busy, begun = time.process_time(), time.perf_counter()
        take = await case.measure(client)
        busy_seconds, seconds = time.process_time() - busy, time.perf_counter() - begun
    finally:
        gc.enable()
    return Sample(
        figures=dict(take.figures),
        failures=counted(answer.failure for answer in take.answers if answer.failure != DROPPED),
        client_busy=round(busy_seconds / seconds, 4),
        answers=tuple(take.answers),
    )


def _allow_files(connections_at_once: int) -> None:
    """Let this process open so many connections, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections_at_once + _SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
