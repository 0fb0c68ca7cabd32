"""A report as one page that needs nothing else: tables and drawings, readable in light and dark."""

from collections.abc import Sequence
from html import escape

from allod.bench.report import Machine, Report
from allod.bench.tables import Table, tables

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fdfdfc; --grid: #d9d9d6; --quiet: #6a6a66; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e2; --paper: #161615; --grid: #3c3c39; --quiet: #a0a09a; }
}
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--grid); }
th { color: var(--quiet); font-weight: 500; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
figure { margin: 1rem 0; } svg { max-width: 100%; height: auto; }
code { font-size: .85rem; overflow-wrap: anywhere; }
dt { color: var(--quiet); float: left; clear: left; width: 7rem; } dd { margin-left: 7.5rem; }
"""


def page(report: Report, drawings: Sequence[str]) -> str:
    """The whole page.

    Args:
        report: what was found.
        drawings: SVG elements.
    """
    names = " and ".join(target.name for target in report.targets)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(f'allod bench: {names}')}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(names)}</h1>",
        _facts(report),
        *(f"<figure>{drawing}</figure>" for drawing in drawings),
        *(_table(table) for table in tables(report)),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _facts(report: Report) -> str:
    facts = [
        *((target.name, f"{target.url}, {', '.join(target.models)}") for target in report.targets),
        ("when", f"{report.started}, {report.seconds:.0f} s"),
        ("where", machine_words(report.machine)),
        ("versions", ", ".join(f"{name} {number}" for name, number in report.machine.versions.items())),
        ("commit", report.machine.commit or "none: not run from a checkout"),
    ]
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>" for name, words in facts)
    return f"<dl>{items}<dt>command</dt><dd><code>{escape(' '.join(report.command))}</code></dd></dl>"


def machine_words(machine: Machine) -> str:
    """The machine on one line."""
    memory = f"{machine.memory_bytes / 2**30:.0f} GiB"
    parts = [machine.system, f"{machine.processor}, {machine.cores} cores", memory, *machine.gpus]
    return "; ".join([*parts, f"load {machine.load} at the start"])


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in table.titles)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    return (
        f"<h2>{escape(table.title)}</h2>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
