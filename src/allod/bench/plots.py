"""Draws charts with matplotlib, which comes with the extra `bench`: nothing else in the house imports it."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, ScalarFormatter

from allod.bench.charts import Chart, Series

_INCHES = (7.2, 4.0)
_DOTS_PER_INCH = 160
_COLORS = ("#3b7dd8", "#d9822b", "#2f9e5f", "#b0499c", "#8a6d3b", "#5c6f82")
"""Read well on white and on near-black."""

_RAW_COLOR = "#888888"
_INK, _GRID = "#010203", "#040506"
"""Stand in for the page's own colours, which are put in their place."""

_SETTINGS: Mapping[str, object] = {"svg.fonttype": "none", "svg.hashsalt": "allod", "font.size": 10}


@dataclass(frozen=True, slots=True)
class _Style:
    ink: str
    grid: str
    background: str


_PAPER = _Style("#1c1c1c", "#dddddd", "white")
_PAGE = _Style(_INK, _GRID, "none")


def write_png(chart: Chart, folder: Path) -> Path:
    """Draw a chart on white; the file."""
    path = folder / f"{chart.name}.png"
    with rc_context(_SETTINGS):
        _draw(chart, _PAPER).savefig(path, format="png", dpi=_DOTS_PER_INCH)
    return path


def svg(chart: Chart) -> str:
    """Draw a chart for a page: its text and lines take the page's colours, in light and dark."""
    sink = io.StringIO()
    with rc_context(_SETTINGS):
        _draw(chart, _PAGE).savefig(sink, format="svg", metadata={"Date": None})
    text = sink.getvalue()
    text = text[text.index("<svg") :]
    return text.replace(_INK, "currentColor").replace(_GRID, "var(--grid)")


def _draw(chart: Chart, style: _Style) -> Figure:
    figure = Figure(figsize=_INCHES, layout="constrained", facecolor=style.background)
    axes = figure.subplots()
    axes.set_facecolor(style.background)
    if chart.kind == "bars":
        _bars(axes, chart.series)
    else:
        _lines(axes, chart)
    axes.set_title(chart.title, color=style.ink)
    axes.set_xlabel(chart.x_label, color=style.ink)
    axes.set_ylabel(chart.y_label, color=style.ink)
    axes.tick_params(colors=style.ink, which="both")
    axes.grid(visible=True, axis="y", color=style.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(style.grid)
    if len(chart.series) > 1:
        axes.legend(frameon=False, labelcolor=style.ink, fontsize=9)
    return figure


def _lines(axes: Axes, chart: Chart) -> None:
    for series in chart.series:
        axes.plot(
            [x for x, _ in series.points],
            [y for _, y in series.points],
            color=_color(series.color),
            linestyle="--" if series.dashed else "-",
            marker="o",
            markersize=4,
            label=series.label,
        )
    if chart.log_x:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.set_xticks(sorted({float(x) for series in chart.series for x, _ in series.points}))
    if chart.log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(LogFormatter())
        axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.6)))
    else:
        axes.set_ylim(bottom=0)


def _bars(axes: Axes, charted: Sequence[Series]) -> None:
    groups = list(dict.fromkeys(str(x) for series in charted for x, _ in series.points))
    width = 0.8 / len(charted)
    for index, series in enumerate(charted):
        places = [groups.index(str(x)) - 0.4 + width * (index + 0.5) for x, _ in series.points]
        heights = [y for _, y in series.points]
        bars = axes.bar(places, heights, width * 0.92, color=_color(series.color), label=series.label)
        axes.bar_label(bars, fmt="%.4g", fontsize=8, color="#888888")
    axes.set_xticks(range(len(groups)), groups)


def _color(index: int) -> str:
    return _RAW_COLOR if index < 0 else _COLORS[index % len(_COLORS)]
