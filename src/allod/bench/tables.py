"""A report as tables: what the terminal prints and the page shows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from allod.bench.figures import FIGURES, Figure
from allod.bench.raw import RawLoop
from allod.bench.report import CaseReport, Ratio, Report
from allod.bench.words import failures_words, ratio_words, seconds_words, value_words

_TITLES: Mapping[str, str] = {
    "single": "One stream",
    "streams": "Many streams at once",
    "stall": "A long prompt arrives while streams decode",
    "agent": "A conversation that grows",
    "drops": "Clients go away in the middle",
    "models": "Several models in turn",
    "connections": "Many clients connect at once",
}
_GIGA = 1e9

LEAST_PAIRS = 5
"""With fewer, chance alone makes all pairs agree too often."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under titles; every row is as long as the titles."""

    title: str
    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(report: Report) -> Sequence[Table]:
    """All tables of a report, in the order of its scenarios; empty ones are left out."""
    scenarios = dict.fromkeys(case.scenario for case in report.cases)
    found = [_scenario(name, [case for case in report.cases if case.scenario == name]) for name in scenarios]
    found += [_ratios(report.cases), *_loop_tables(report), _left_out(report)]
    return [table for table in found if table.rows]


def loop_table(loop: RawLoop) -> Table:
    """The raw loop of a model."""
    bandwidth = loop.bandwidth.best_bytes_per_second
    rows = tuple(
        (
            str(rows.rows),
            value_words(rows.tokens_per_second, "tokens/s"),
            seconds_words(rows.step_seconds),
            f"{rows.step_bytes / _GIGA:.2f} GB",
            seconds_words(rows.least_seconds),
            value_words(rows.reached, "share"),
        )
        for rows in loop.rows
    )
    title = (
        f"Raw loop of {loop.model} on {loop.device}, {loop.compute}: memory {bandwidth / _GIGA:.1f} GB/s, "
        f"prefill {value_words(max(loop.prefill_tokens_per_second, default=None), 'tokens/s')}"
    )
    return Table(title, ("rows", "decoding", "step", "bytes read", "least step", "of the roofline"), rows)


def _scenario(name: str, cases: Sequence[CaseReport]) -> Table:
    figures = _figures_of(cases)
    titles = ("case", "target", *(figure.title for figure in figures), "samples", "failures", "client")
    return Table(_TITLES.get(name, name), titles, tuple(_rows(cases, figures)))


def _figures_of(cases: Sequence[CaseReport]) -> Sequence[Figure]:
    """The figures that occur, in the order of `FIGURES`."""
    named = {
        name
        for case in cases
        for result in case.results
        for sample in result.samples
        for name in sample.figures
    }
    return [figure for name, figure in FIGURES.items() if name in named]


def _rows(cases: Sequence[CaseReport], figures: Sequence[Figure]) -> Iterator[tuple[str, ...]]:
    for case in cases:
        for result in case.results:
            busy = max((sample.client_busy for sample in result.samples), default=0.0)
            yield (
                case.name,
                result.target,
                *(value_words(result.medians.get(figure.name), figure.unit) for figure in figures),
                str(len(result.samples)),
                failures_words(result.failures),
                f"{busy:.0%}",
            )


def _ratios(cases: Sequence[CaseReport]) -> Table:
    rows = [
        (case.scenario, case.name, *_ratio_row(ratio, FIGURES[ratio.figure]))
        for case in cases
        for ratio in case.ratios
        if ratio.figure in FIGURES
    ]
    titles = ("scenario", "case", "figure", "target", "of", "median", "lowest", "highest", "pairs", "")
    return Table("Ratios, pair by pair", titles, tuple(rows))


def _ratio_row(ratio: Ratio, figure: Figure) -> tuple[str, ...]:
    spread = (ratio_words(ratio.median), ratio_words(min(ratio.ratios)), ratio_words(max(ratio.ratios)))
    return (
        figure.title,
        ratio.target,
        ratio.baseline,
        *spread,
        str(len(ratio.ratios)),
        verdict(ratio, figure),
    )


def verdict(ratio: Ratio, figure: Figure) -> str:
    """Whether one target is better, which is said only when every one of enough pairs says so.

    Of two equal servers, all of n pairs agree by chance in one of 2 ** (n - 1) figures.
    """
    if figure.better == "neither" or all(each == 1 for each in ratio.ratios):
        return ""
    if len(ratio.ratios) < LEAST_PAIRS:
        return "few pairs"
    if not (all(each > 1 for each in ratio.ratios) or all(each < 1 for each in ratio.ratios)):
        return "no difference shown"
    return "better" if (ratio.median > 1) == (figure.better == "higher") else "worse"


def _loop_tables(report: Report) -> Sequence[Table]:
    loop = report.loop
    if loop is None:
        return ()
    rows = [
        (
            case.name,
            result.target,
            value_words(raw.tokens_per_second, "tokens/s"),
            *_shares(result.medians, raw.tokens_per_second),
        )
        for case in report.cases
        if case.scenario == "streams" and (raw := loop.at(case.size)) is not None
        for result in case.results
    ]
    titles = ("case", "target", "raw loop", "decoding of it", "end to end of it")
    return (loop_table(loop), Table("Served rate over the raw loop", titles, tuple(rows)))


def _shares(medians: Mapping[str, float], raw: float) -> tuple[str, str]:
    served = [medians.get(name) for name in ("decode_tokens_per_second", "end_to_end_tokens_per_second")]
    decoding, whole = (None if rate is None or not raw else rate / raw for rate in served)
    return value_words(decoding, "share"), value_words(whole, "share")


def _left_out(report: Report) -> Table:
    rows = tuple((left.what, left.because) for left in report.left_out)
    return Table("Not measured", ("what", "why"), rows)
