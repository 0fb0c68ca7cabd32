"""All dialects of calls, and which of them a chat template speaks."""

from allod.core.errors import ConfigurationError
from allod.text.markup import Dialect
from allod.text.tools import (
    deepseek,
    gemma,
    glm,
    granite,
    harmony,
    hermes,
    kimi,
    llama_json,
    minimax,
    minimax_m3,
    mistral,
    phi,
    pythonic,
    qwen_xml,
)

ALL: tuple[Dialect, ...] = (
    hermes.DIALECT,
    qwen_xml.DIALECT,
    llama_json.DIALECT,
    pythonic.DIALECT,
    mistral.DIALECT,
    harmony.DIALECT,
    glm.DIALECT,
    deepseek.DIALECT,
    deepseek.FENCED,
    deepseek.DSML,
    deepseek.DSML_V4,
    kimi.DIALECT,
    minimax.DIALECT,
    minimax_m3.DIALECT,
    gemma.DIALECT,
    gemma.FUNCTION,
    granite.DIALECT,
    phi.DIALECT,
)

_BY_NAME = {dialect.name: dialect for dialect in ALL}
_GENERIC = hermes.DIALECT
"""What the house asks for in its own words, where a template writes no tools."""


def named(name: str) -> Dialect:
    """A dialect by its name.

    Raises:
        ConfigurationError: there is none of this name.
    """
    try:
        return _BY_NAME[name]
    except KeyError:
        known = ", ".join(sorted(_BY_NAME))
        message = f"tool_dialect: there is no dialect named '{name}'; the names are {known}"
        raise ConfigurationError(message) from None


def dialect_of(template_source: str, takes_tools: bool) -> Dialect:
    """The dialect that a chat template speaks: of all that it holds the marks of, the most particular.

    Args:
        template_source: the template's text.
        takes_tools: False where the house writes the tools, for a model that was not taught any form.
    """
    if not takes_tools:
        return _GENERIC
    return max(ALL, key=lambda dialect: _resemblance(dialect, template_source))


def _resemblance(dialect: Dialect, source: str) -> int:
    """How many characters of the template tell this dialect; of equals the first in `ALL` counts."""
    found = (marks for marks in dialect.fingerprints if all(mark in source for mark in marks))
    return max((sum(map(len, marks)) for marks in found), default=0)
