"""What a run found, as it is written to JSON. Tables, plots and pages are made of this and nothing else."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from allod.bench.answer import Answer
from allod.bench.client import Abilities
from allod.bench.figures import median, medians, paired_ratios
from allod.bench.raw import RawLoop
from allod.bench.settings import BenchSettings

REPORT_VERSION = 1


class Sample(msgspec.Struct, frozen=True):
    """One measurement of one case at one target.

    Attributes:
        figures: by the names of `figures.FIGURES`; None where the answers did not allow one.
        failures: how many requests failed, by kind.
        client_busy: CPU seconds of the measuring process over the seconds of the sample. Near 1 means that
            the client, not the server, may be what was measured.
        answers: every answer, in the order in which they were asked for.
    """

    figures: dict[str, float | None]
    failures: dict[str, int]
    client_busy: float
    answers: tuple[Answer, ...]


class Result(msgspec.Struct, frozen=True):
    """All samples of one case at one target, with the median of each figure."""

    target: str
    samples: tuple[Sample, ...]
    medians: dict[str, float]
    failures: dict[str, int]


class Ratio(msgspec.Struct, frozen=True):
    """A figure of one target over that of the first target, pair by pair.

    Attributes:
        ratios: one for each repeat in which both have the figure.
        median: of them.
    """

    figure: str
    target: str
    baseline: str
    ratios: tuple[float, ...]
    median: float


class CaseReport(msgspec.Struct, frozen=True):
    """A case: one scenario in one size.

    Attributes:
        size: what varies from case to case, such as the number of streams.
    """

    scenario: str
    name: str
    size: int
    results: tuple[Result, ...]
    ratios: tuple[Ratio, ...]


class LeftOut(msgspec.Struct, frozen=True):
    """What was not measured, and why."""

    what: str
    because: str


class TargetReport(msgspec.Struct, frozen=True):
    """Who was measured."""

    name: str
    url: str
    models: tuple[str, ...]
    abilities: Abilities


class Machine(msgspec.Struct, frozen=True):
    """Where the client ran; the server too, when its address is of this machine.

    Attributes:
        load: processes that were ready to run, averaged over the last minute, at the start.
        versions: of what takes part, as far as it is installed where the client runs.
        commit: of the checkout that the client ran from; empty outside of one.
    """

    system: str
    processor: str
    cores: int
    memory_bytes: int
    gpus: tuple[str, ...]
    load: float
    versions: dict[str, str]
    commit: str


class Report(msgspec.Struct, frozen=True):
    """A whole run.

    Attributes:
        started: ISO 8601, UTC.
        seconds: how long it took.
        command: the command line, keys struck out.
        loop: the raw loop of a model without HTTP, where it was asked for.
        version: of this form.
    """

    started: str
    seconds: float
    command: tuple[str, ...]
    machine: Machine
    settings: BenchSettings
    targets: tuple[TargetReport, ...]
    cases: tuple[CaseReport, ...]
    left_out: tuple[LeftOut, ...]
    loop: RawLoop | None = None
    version: int = REPORT_VERSION

    def case(self, scenario: str, size: int) -> CaseReport | None:
        """The case of a scenario with this size, if it was measured."""
        return next((case for case in self.cases if (case.scenario, case.size) == (scenario, size)), None)


def result_of(target: str, samples: Sequence[Sample]) -> Result:
    """Samples with their medians."""
    failures: Counter[str] = Counter()
    for sample in samples:
        failures.update(sample.failures)
    figures = medians(sample.figures for sample in samples)
    return Result(target, tuple(samples), figures, dict(sorted(failures.items())))


def ratios_of(results: Sequence[Result]) -> tuple[Ratio, ...]:
    """Every figure of the later targets over the first one's."""
    if not results:
        return ()
    baseline, *others = results
    found: list[Ratio] = []
    for other in others:
        for figure in other.medians:
            pairs = paired_ratios(
                [sample.figures.get(figure) for sample in other.samples],
                [sample.figures.get(figure) for sample in baseline.samples],
            )
            middle = median(pairs)
            if middle is not None:
                found.append(Ratio(figure, other.target, baseline.target, pairs, middle))
    return tuple(found)
