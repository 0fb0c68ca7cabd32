"""Tools a model may call, and the calls it made."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the client offers to run.

    Attributes:
        name: unique within a request.
        description: what it does, for the model.
        parameters: JSON Schema of its arguments, as JSON text; `{}` takes anything.
        strict: the arguments must follow the schema.
    """

    name: str
    description: str = ""
    parameters: str = "{}"
    strict: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that an assistant turn made.

    Attributes:
        identifier: what the result refers to.
        name: the tool.
        arguments: JSON text of one object as the model or the client wrote it; may be broken.
    """

    identifier: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class NamedTool:
    """The answer must call this tool."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | NamedTool
