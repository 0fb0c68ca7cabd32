"""Golden corpora of answers with calls in them: how they are written, read, and shown.

A corpus file holds cases: a line `=== name`, the answer, a line `---`, and what it comes to. The newline
before `---` is not part of the answer. An answer that begins with a line `(cut)` was cut off; the others
were ended by the model.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from allod.core.tools import Tool
from allod.text.markup import CallArguments, CallClosed, CallOpened, Dialect, Piece, Said, Thought

CORPORA = Path(__file__).parents[1] / "golden" / "tools"
_CUT = "(cut)\n"


def _tool(name: str, required: Sequence[str], **properties: object) -> Tool:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return Tool(name, f"Does {name}.", json.dumps(schema))


TOOLS = (
    _tool(
        "get_weather",
        ["city"],
        city={"type": "string"},
        unit={"type": "string", "enum": ["celsius", "fahrenheit"]},
        days={"type": "integer"},
    ),
    _tool(
        "write_file",
        ["path", "content"],
        path={"type": "string"},
        content={"type": "string"},
        append={"type": "boolean"},
    ),
    _tool(
        "plot",
        ["points"],
        points={
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"x": {"type": "number"}, "y": {"type": "number"}},
                "required": ["x", "y"],
            },
        },
        style={"type": "object"},
        title={"anyOf": [{"type": "string"}, {"type": "null"}]},
    ),
    Tool("ping", parameters='{"type": "object", "properties": {}}'),
)
"""What the corpora's answers may call."""


@dataclass(frozen=True, slots=True)
class Case:
    """One answer of a corpus.

    Attributes:
        name: says what is special about it.
        text: the answer.
        complete: the model ended it itself.
        comes_to: what `shown` shows of it.
    """

    name: str
    text: str
    complete: bool
    comes_to: str


def cases_of(corpus: str) -> list[Case]:
    """The cases of a file, by its path under the corpora."""
    cases: list[Case] = []
    for section in (CORPORA / corpus).read_text().split("=== ")[1:]:
        head, _, body = section.partition("\n")
        text, _, comes_to = body.rpartition("\n---\n")
        cases.append(Case(head, text.removeprefix(_CUT), not text.startswith(_CUT), comes_to.strip()))
    return cases


def read(dialect: Dialect, pieces: Iterable[str], *, complete: bool) -> list[Piece]:
    """What a fresh parser makes of an answer that comes in these pieces, joined."""
    parser = dialect.parser(TOOLS)
    found = [piece for text in pieces for piece in parser.feed(text)]
    found += parser.flush(complete=complete)
    assert parser.held_chars == 0
    return joined(found)


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Pieces with neighbours of one kind put together."""
    whole: list[Piece] = []
    for piece in pieces:
        last = whole[-1] if whole else None
        match piece, last:
            case (Said(), Said()) | (Thought(), Thought()) | (CallArguments(), CallArguments()):
                whole[-1] = type(piece)(last.text + piece.text)
            case _:
                whole.append(piece)
    return whole


def shown(pieces: Iterable[Piece]) -> str:
    """Joined pieces as a corpus writes them, a line each; a call that has no end says so."""
    lines: list[str] = []
    is_open = False
    for piece in pieces:
        match piece:
            case Said(text=text):
                lines.append(f"say {json.dumps(text, ensure_ascii=False)}")
            case Thought(text=text):
                lines.append(f"think {json.dumps(text, ensure_ascii=False)}")
            case CallOpened(name=name):
                lines.append(f"call {name} ")
                is_open = True
            case CallArguments(text=text):
                assert is_open
                lines[-1] += text.replace("\n", "\\n")
            case CallClosed():
                assert is_open
                is_open = False
    return "\n".join(lines) + (" (open)" if is_open else "")


def cut(text: str, places: Iterable[int]) -> list[str]:
    """A text in pieces that end at these places."""
    ends = sorted({0, len(text), *(place for place in places if place < len(text))})
    return [text[start:end] for start, end in pairwise(ends)]
