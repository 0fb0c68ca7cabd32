"""What a run of the bench does, as its command line says it. Nothing here is a setting of a server."""

from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge, MinLen

SCENARIOS = ("single", "streams", "stall", "agent", "drops", "models", "connections")
"""In the order in which they run."""


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """Sizes and limits of a run."""

    scenarios: Annotated[tuple[str, ...], MinLen(1), Doc("Which scenarios run.")] = SCENARIOS
    repeats: Annotated[int, Ge(1), Doc("How often each case is measured; the median is shown.")] = 3
    streams: Annotated[tuple[int, ...], MinLen(1), Doc("How many streams at once.")] = (1, 2, 4, 8, 16, 32)
    connections: Annotated[tuple[int, ...], MinLen(1), Doc("How many clients connect at once.")] = (200, 1000)
    max_tokens: Annotated[int, Ge(2), Doc("Tokens of each answer.")] = 128
    prompt_words: Annotated[int, Ge(1), Doc("Words of an ordinary prompt.")] = 64
    long_words: Annotated[int, Ge(1), Doc("Words of the long prompt that arrives in `stall`.")] = 1500
    agent_tokens: Annotated[
        int, Ge(64), Doc("Length of the conversation after the last turn of `agent`.")
    ] = 8192
    budget_seconds: Annotated[float, Ge(1), Doc("Time for everything; scenarios share it evenly.")] = 900.0
    patience_seconds: Annotated[
        float, Ge(1), Doc("How long a request may take before it counts as failed.")
    ] = 180.0
