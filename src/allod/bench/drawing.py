"""Writes the drawings of a report into a folder: PNG files, and one page."""

from pathlib import Path

from allod.bench.charts import charts
from allod.bench.page import page
from allod.bench.plots import svg, write_png
from allod.bench.report import Report

PAGE_FILE = "bench.html"


def draw(report: Report, folder: Path) -> Path:
    """Draw everything; the page."""
    folder.mkdir(parents=True, exist_ok=True)
    charted = charts(report)
    for chart in charted:
        write_png(chart, folder)
    path = folder / PAGE_FILE
    path.write_text(page(report, [svg(chart) for chart in charted]), encoding="utf-8")
    return path
