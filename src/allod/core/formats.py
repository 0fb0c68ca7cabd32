"""What form an answer must have. All but `PlainText` are enforced while it is generated."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlainText:
    """Any text."""


@dataclass(frozen=True, slots=True)
class JsonObject:
    """Any one JSON object."""


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """JSON that a schema accepts.

    Attributes:
        schema: the JSON Schema, as JSON text.
        param: the request field it came from, for refusals.
    """

    schema: str
    param: str = "response_format.json_schema.schema"


@dataclass(frozen=True, slots=True)
class Regex:
    """Text that a regular expression (Rust's `regex` syntax) matches whole."""

    pattern: str
    param: str = "guided_regex"


@dataclass(frozen=True, slots=True)
class Grammar:
    """Text of an EBNF grammar: llguidance's Lark dialect, or GBNF.

    Attributes:
        text: the grammar.
        syntax: which of the two it is written in.
    """

    text: str
    syntax: str = "lark"
    param: str = "guided_grammar"


AnswerForm = PlainText | JsonObject | JsonSchema | Regex | Grammar
