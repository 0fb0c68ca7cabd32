"""A report as charts: which points are drawn, without drawing them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from allod.bench.figures import median
from allod.bench.report import CaseReport, Report, Result

Kind = Literal["lines", "bars"]


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or the bars of one colour.

    Attributes:
        label: in the legend.
        points: (x, y); of bars x is the name of the group.
        color: index of a colour; series of one target share it.
        dashed: of lines: a second figure of the same target.
    """

    label: str
    points: tuple[tuple[float | str, float], ...]
    color: int
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture.

    Attributes:
        name: of its file.
        log_x: x runs in powers of two.
        log_y: y runs in powers of ten.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    kind: Kind
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False


def charts(report: Report) -> Sequence[Chart]:
    """Every chart for which there is something to draw."""
    by_scenario: dict[str, list[CaseReport]] = {}
    for case in report.cases:
        by_scenario.setdefault(case.scenario, []).append(case)
    found: list[Chart] = []
    streams = by_scenario.get("streams", ())
    if streams:
        found += [_rates(report, streams), _waits(streams), _gaps(streams)]
    found += [_bars(name, by_scenario[name]) for name in _BARS if name in by_scenario]
    found += [_turns(case) for case in by_scenario.get("agent", ())]
    return [chart for chart in found if any(series.points for series in chart.series)]


@dataclass(frozen=True, slots=True)
class _Bars:
    title: str
    y_label: str
    figures: tuple[tuple[str, str], ...]
    scale: float


_BARS: Mapping[str, _Bars] = {
    "single": _Bars(
        "First token of one stream",
        "ms",
        (("cold_first_seconds", "new prompt"), ("warm_first_seconds", "same prompt again")),
        1000,
    ),
    "stall": _Bars(
        "Longest gap of streams while a long prompt arrives",
        "ms",
        (("longest_gap_seconds", "longest gap"),),
        1000,
    ),
    "connections": _Bars(
        "Clients that connect at once",
        "clients",
        (("served", "served"), ("refused", "refused"), ("failed", "failed")),
        1,
    ),
}


def _bars(name: str, cases: Sequence[CaseReport]) -> Chart:
    wanted = _BARS[name]
    targets = list(dict.fromkeys(result.target for case in cases for result in case.results))
    series = [
        Series(target, tuple(_groups(wanted, cases, target)), index) for index, target in enumerate(targets)
    ]
    return Chart(name, wanted.title, "", wanted.y_label, "bars", tuple(series))


def _groups(wanted: _Bars, cases: Sequence[CaseReport], target: str) -> Iterator[tuple[str, float]]:
    for case in cases:
        for result in case.results:
            for figure, words in wanted.figures:
                if result.target == target and figure in result.medians:
                    parts = (case.name if len(cases) > 1 else "", words if len(wanted.figures) > 1 else "")
                    yield "\n".join(filter(None, parts)) or case.name, wanted.scale * result.medians[figure]


def _rates(report: Report, cases: Sequence[CaseReport]) -> Chart:
    figures = (("end_to_end_tokens_per_second", "end to end"), ("decode_tokens_per_second", "decoding"))
    series = list(_lines(cases, figures, 1))
    if report.loop is not None:
        points = tuple((float(rows.rows), rows.tokens_per_second) for rows in report.loop.rows)
        series.append(Series("raw loop", points, -1, dashed=True))
    return Chart(
        "streams", "All streams together", "streams at once", "tokens/s", "lines", tuple(series), log_x=True
    )


def _waits(cases: Sequence[CaseReport]) -> Chart:
    series = _lines(cases, (("first_seconds_p50", "p50"), ("first_seconds_p99", "p99")), 1000)
    return Chart(
        "first-token", "First token", "streams at once", "ms", "lines", tuple(series), log_x=True, log_y=True
    )


def _gaps(cases: Sequence[CaseReport]) -> Chart:
    series = _lines(cases, (("gap_seconds_p50", "p50"), ("gap_seconds_p99", "p99")), 1000)
    return Chart(
        "gaps", "Gaps between tokens", "streams at once", "ms", "lines", tuple(series), log_x=True, log_y=True
    )


def _lines(cases: Sequence[CaseReport], figures: Sequence[tuple[str, str]], scale: float) -> Iterator[Series]:
    targets = list(dict.fromkeys(result.target for case in cases for result in case.results))
    for color, target in enumerate(targets):
        for index, (figure, words) in enumerate(figures):
            points = tuple(
                (float(case.size), scale * result.medians[figure])
                for case in cases
                for result in case.results
                if result.target == target and figure in result.medians
            )
            yield Series(f"{target}, {words}", points, color, dashed=index > 0)


def _turns(case: CaseReport) -> Chart:
    series = tuple(
        Series(result.target, _turn_points(result), color) for color, result in enumerate(case.results)
    )
    return Chart("agent", f"First token, {case.name}", "turn", "ms", "lines", series)


def _turn_points(result: Result) -> tuple[tuple[float | str, float], ...]:
    by_turn = zip_longest(*([answer.first_seconds for answer in sample.answers] for sample in result.samples))
    middles = (median([first for first in turn if first is not None]) for turn in by_turn)
    return tuple(
        (float(turn), 1000 * middle) for turn, middle in enumerate(middles, start=1) if middle is not None
    )
