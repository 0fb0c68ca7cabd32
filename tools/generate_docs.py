"""Writes the parts of the documentation that the code already says; `--check` only compares.

The room tables come from the rooms' docstrings, the settings from their declarations, the commands
from the command line itself. What is generated stands between `<!-- NAME:begin -->` and
`<!-- NAME:end -->`; everything around it is written by hand.
"""

import argparse
import ast
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from allod import config
from allod.cli.exits import MEANINGS
from allod.cli.main import app
from allod.declared import SettingDoc

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "allod"
FLOORS = (
    "cli",
    "app",
    "worker",
    "config",
    "declared",
    "api",
    "service",
    "bench",
    "registry",
    "store",
    "local",
    "engine",
    "runner",
    "wire",
    "text",
    "prefix",
    "archive",
    "device",
    "media",
    "testing",
    "core",
)


@dataclass(frozen=True, slots=True)
class Room:
    """What a room's docstring says of it."""

    name: str
    noun: str
    lives: str
    never: str


def rooms() -> Iterator[Room]:
    """The rooms, top floor first.

    Raises:
        SystemExit: a room has no floor.
    """
    missing = {folder.parent.name for folder in PACKAGE.glob("*/__init__.py")} - set(FLOORS)
    if missing:
        raise SystemExit(f"rooms without a floor in FLOORS: {', '.join(sorted(missing))}")
    for name in FLOORS:
        folder = PACKAGE / name / "__init__.py"
        path = folder if folder.exists() else PACKAGE / f"{name}.py"
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        first, _, rest = text.partition("\n")
        noun = first.partition(": ")[2] if first.startswith(f"{name}: ") else first
        shown = f"{name}/" if folder.exists() else f"{name}.py"
        yield Room(shown, noun.rstrip("."), _paragraph("Lives here", rest), _paragraph("Never", rest))


def _paragraph(title: str, text: str) -> str:
    found = re.search(rf"^{title}: (.*?)(?=^[A-Z][a-z ]+: |\Z)", text, re.MULTILINE | re.DOTALL)
    return " ".join(found.group(1).split()) if found else ""


def room_table() -> str:
    """Room and noun: the short table."""
    return table(("room", "what it is"), [(f"`{room.name}`", room.noun) for room in rooms()])


def long_room_table() -> str:
    """Room, noun, contents and prohibitions."""
    rows = [(f"`{room.name}`", room.noun, room.lives, room.never) for room in rooms()]
    return table(("room", "what it is", "lives here", "never"), rows)


def settings_tables() -> str:
    """One table per section."""
    documented = config.describe()
    parts: list[str] = []
    for section in dict.fromkeys(item.section for item in documented):
        rows = [
            (f"`{item.name}`", _kind(item), f"`{item.default}`" if item.default else "empty", item.doc)
            for item in documented
            if item.section == section
        ]
        parts += [f"## [{section}]", table(("setting", "value", "default", "what it does"), rows)]
    return "\n\n".join(parts)


def _kind(item: SettingDoc) -> str:
    return ", ".join(part for part in (item.type, item.bounds) if part)


def exit_table() -> str:
    """Exit codes."""
    return table(("code", "meaning"), [(str(code.value), words) for code, words in MEANINGS.items()])


def commands() -> str:
    """Every command with its arguments and options."""
    return "\n\n".join(_command("allod", typer.main.get_command(app)))


def _command(path: str, command: Any) -> Iterator[str]:
    yield f"## `{path}`"
    yield _plain(command.help or "")
    rows = [row for parameter in command.params if (row := _parameter(parameter))]
    if rows:
        yield table(("argument or option", "default", "meaning"), rows)
    for name, child in getattr(command, "commands", {}).items():
        yield from _command(f"{path} {name}", child)


def _parameter(parameter: Any) -> tuple[str, str, str] | None:
    if "completion" in parameter.name:
        return None
    is_argument = parameter.param_type_name == "argument"
    spelled = parameter.metavar or parameter.name.upper() if is_argument else ", ".join(parameter.opts)
    shown = parameter.show_default if isinstance(parameter.show_default, str) else ""
    return f"`{spelled}`", shown, _plain(getattr(parameter, "help", "") or "")


def _plain(text: str) -> str:
    paragraphs = (" ".join(part.split()) for part in text.replace("\f", "").split("\n\n"))
    return "\n\n".join(paragraphs)


def table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [titles, tuple("---" for _ in titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


PARTS: Mapping[str, Callable[[], str]] = {
    "rooms": room_table,
    "rooms-long": long_room_table,
    "settings": settings_tables,
    "exits": exit_table,
    "commands": commands,
}


def generated(text: str) -> str:
    """The page with every generated part fresh."""

    def fresh(found: re.Match[str]) -> str:
        begin, name, end = found.group(1, 2, 3)
        return f"{begin}\n\n{PARTS[name]()}\n\n{end}"

    return re.sub(r"(<!-- ([a-z-]+):begin -->).*?(<!-- \2:end -->)", fresh, text, flags=re.DOTALL)


def pages() -> Iterator[Path]:
    """Every page that may hold generated parts."""
    yield from (ROOT / "README.md", ROOT / "ARCHITECTURE.md")
    yield from sorted((ROOT / "docs").rglob("*.md"))


def main() -> int:
    """Write what changed, or with `--check` say what would, and fail if anything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is stale")
    check = parser.parse_args().check
    stale = [page for page in pages() if generated(text := page.read_text()) != text]
    for page in stale:
        if not check:
            page.write_text(generated(page.read_text()))
        print(f"{'stale' if check else 'written'}: {page.relative_to(ROOT)}")
    if check and stale:
        print("run `make docs`")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
