"""What the grammars of all dialects share: a rule for each tool, and its arguments as a schema."""

import json
from collections.abc import Callable, Sequence
from typing import cast

from allod.core.tools import Tool

Schema = dict[str, object]
"""A JSON Schema as data."""

Body = Callable[[Tool, str], str]
"""The right side of one tool's rule, from the tool and the name of the rule for its arguments."""


def call_rules(
    tools: Sequence[Tool], body: Body, *, many: bool, between: str = "", before: str = "", after: str = ""
) -> str:
    """As `bare_call_rules`, with a tool's schema as the rule for its arguments."""
    calls = bare_call_rules(tools, body, many=many, between=between, before=before, after=after)
    schemas = [f"{_arguments(number)}: %json {object_schema(tool)}\n" for number, tool in enumerate(tools)]
    return calls + "".join(schemas)


def bare_call_rules(
    tools: Sequence[Tool], body: Body, *, many: bool, between: str = "", before: str = "", after: str = ""
) -> str:
    """Rules whose `calls` is one call of any of the tools, or with `many` one or more.

    The caller writes the rules for arguments.

    Args:
        tools: what may be called; at least one.
        body: writes one call.
        many: whether calls may follow one another.
        between: the term that separates calls.
        before: the term before the first call.
        after: the term after the last call.
    """
    more = f"({between} call)*" if many else ""
    names = [f"call_{number}" for number in range(len(tools))]
    lines = [f"calls: {before} call {more} {after}", f"call: {' | '.join(names)}"]
    for number, tool in enumerate(tools):
        lines.append(f"{names[number]}: {body(tool, _arguments(number))}")
    return "\n".join(lines) + "\n"


def object_schema(tool: Tool) -> str:
    """The schema of a tool's arguments, which are an object also where the schema does not say so."""
    schema = schema_of(tool)
    return json.dumps({**schema, "type": "object"})


def schema_of(tool: Tool) -> Schema:
    """The schema as data; empty where it is `true` or no JSON."""
    try:
        schema: object = json.loads(tool.parameters)
    except (ValueError, RecursionError):
        return {}
    return mapping(schema)


def _arguments(number: int) -> str:
    return f"call_{number}_arguments"


def mapping(value: object) -> Schema:
    """A part of a schema that should be an object; empty where it is not."""
    return cast("Schema", value) if isinstance(value, dict) else {}
