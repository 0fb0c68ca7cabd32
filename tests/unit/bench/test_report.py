"""Reports, and what is made of them."""

import json
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from allod.bench.charts import charts
from allod.bench.drawing import draw
from allod.bench.figures import FIGURES
from allod.bench.machine import machine, without_keys
from allod.bench.page import page
from allod.bench.plots import svg
from allod.bench.report import Ratio, Report
from allod.bench.tables import tables, verdict

SCHEMA = Path(__file__).parents[2] / "golden" / "bench" / "report.schema.json"


def test_the_form_of_a_report_is_stable() -> None:
    """A change of the form shows here, and raises REPORT_VERSION if it breaks who reads it."""
    fresh = json.loads(json.dumps(msgspec.json.schema(Report)))
    assert fresh == json.loads(SCHEMA.read_text())


def test_a_report_is_read_as_it_was_written(report: Report) -> None:
    """JSON keeps every number."""
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def test_tables_have_every_target_and_no_hole(report: Report) -> None:
    """One row per case and target, cells for every title, failures by kind, and served over raw."""
    found = {table.title: table for table in tables(report)}
    assert all(len(row) == len(table.titles) for table in found.values() for row in table.rows)
    streams = found["Many streams at once"]
    assert [row[:2] for row in streams.rows] == [("streams 4", "A"), ("streams 4", "B")]
    assert "62.0/s" in streams.rows[1]
    assert "10 x http 503" in streams.rows[1]
    assert found["Served rate over the raw loop"].rows[0][-2:] == ("50%", "25%")
    assert found["Not measured"].rows == (("models", "<one> model"),)


def test_charts_show_what_was_measured(report: Report) -> None:
    """Lines of every target at the sizes that were measured, the raw loop, and a point per turn."""
    found = {chart.name: chart for chart in charts(report)}
    assert set(found) == {"streams", "agent", "connections"}
    lines = {series.label: series.points for series in found["streams"].series}
    assert lines["B, decoding"] == ((4.0, 62.0),)
    assert lines["raw loop"] == ((4.0, 100.0),)
    assert found["agent"].series[0].points == ((1.0, 500.0), (2.0, 250.0))
    assert dict(found["connections"].series[1].points) == {"served": 100.0, "failed": 50.0}


def test_drawings_take_the_pages_colours(report: Report) -> None:
    """An SVG is well-formed and has no ink of its own, so that it reads in light and dark."""
    for chart in charts(report):
        drawing = svg(chart)
        ElementTree.fromstring(drawing)
        assert "currentColor" in drawing
        assert "var(--grid)" in drawing
        assert "#010203" not in drawing
        assert svg(chart) == drawing


def test_the_page_needs_nothing_else(report: Report, tmp_path: Path) -> None:
    """Everything is in the page, for both colour schemes, and what servers say of themselves is escaped."""
    path = draw(report, tmp_path / "plots")
    text = path.read_text()
    assert text.count("<svg") == 3
    assert "prefers-color-scheme: dark" in text
    assert "&lt;one&gt; model" in text
    assert "<one>" not in text
    assert not any(word in text for word in ("<script", "<link", "<img", "src="))
    assert {each.name for each in path.parent.glob("*.png")} == {
        "streams.png",
        "agent.png",
        "connections.png",
    }
    assert page(report, []).count("<table") == len(tables(report))


@pytest.mark.parametrize(
    ("ratios", "figure", "said"),
    [
        ((1.1, 1.2, 1.3, 1.1, 1.2), "decode_tokens_per_second", "better"),
        ((1.1, 1.2, 1.3, 1.1, 1.2), "gap_seconds_p50", "worse"),
        ((0.9, 0.8, 0.9, 0.8, 0.9), "gap_seconds_p50", "better"),
        ((0.9, 0.8, 1.1, 0.8, 0.9), "gap_seconds_p50", "no difference shown"),
        ((1.1, 1.2), "decode_tokens_per_second", "few pairs"),
        ((1.0,), "served", ""),
        ((1.1, 1.2, 1.3, 1.1, 1.2), "refused", ""),
    ],
)
def test_better_is_said_only_when_every_pair_says_so(
    ratios: tuple[float, ...], figure: str, said: str
) -> None:
    """And only of enough pairs: two equal servers would seem to differ else."""
    middle = sorted(ratios)[len(ratios) // 2]
    assert verdict(Ratio(figure, "B", "A", ratios, middle), FIGURES[figure]) == said


def test_keys_are_struck_out() -> None:
    """A command line in a report can be shown to anybody."""
    assert without_keys(["x", "--key", "secret", "--key=secret", "y"]) == (
        "x",
        "--key",
        "***",
        "--key=***",
        "y",
    )


def test_the_machine_is_described() -> None:
    """What a figure depends on is in the report: processor, cores, memory, versions."""
    found = machine()
    assert found.processor
    assert found.cores >= 1
    assert found.memory_bytes > 2**28
    assert {"allod", "python", "mlx"} <= set(found.versions)
