"""Where words go: data to stdout, everything said about it to stderr."""

import sys
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table


def say(text: str) -> None:
    """A line for a person, on stderr: as it is, without markup or wrapping."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def write(text: str) -> None:
    """A line of data on stdout."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def write_json(value: object) -> None:
    """One JSON document on stdout."""
    write(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode())


def write_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns on stdout: drawn at a terminal, separated by tabs in a pipe."""
    if not sys.stdout.isatty():
        for row in rows:
            write("\t".join(row))
        return
    table = Table(*titles, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(markup=False).print(table)


def bytes_words(count: int) -> str:
    """A size a person can read, in powers of 1024."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
