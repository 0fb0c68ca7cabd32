"""What the owner can set about scheduling."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_doc import Doc
from annotated_types import Ge, Le


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Scheduling limits of one worker."""

    max_batch_rows: Annotated[int, Ge(1), Le(512), Doc("Most sequences decoded in one step.")] = 32
    max_decode_stall_ms: Annotated[
        int,
        Ge(10),
        Le(60_000),
        Doc(
            "Longest a decoding stream waits for another prompt's chunk; three of its own steps where that "
            "is longer. The first tokens of streams that begin together may wait for a second."
        ),
    ] = 250
    max_prefill_chunk_tokens: Annotated[
        int, Ge(16), Le(16_384), Doc("Most prompt tokens processed at a time when nobody is decoding.")
    ] = 2048
    max_queued_requests: Annotated[int, Ge(1), Doc("Requests that may wait; more get a 503.")] = 256
    max_queued_tokens: Annotated[
        int, Ge(1), Doc("Prompt tokens that may wait in the queue together; more get a 503.")
    ] = 4_000_000
    default_max_tokens: Annotated[
        int, Ge(1), Doc("Length limit of an answer when the request names none (and the context allows it).")
    ] = 4096
    speculation: Annotated[
        Literal["auto", "off"],
        Doc(
            "`auto` lets an answer take several tokens in a step, that repeats what was said before or whose "
            "draft model guesses it, where that was measured to be faster; the text stays the same."
        ),
    ] = "auto"
    prefix_cache_bytes: Annotated[
        int,
        Ge(0),
        Doc(
            "Most bytes of what was read that are kept, so that prompts that begin alike are not read twice; "
            "at most half of what the weights leave of the budget is used, and running requests go first. "
            "0 keeps nothing."
        ),
    ] = 8 * 2**30
    prefix_disk_bytes: Annotated[
        int,
        Ge(0),
        Doc(
            "Most bytes on disk of what was read of prompts, for each model, so that it survives a restart; "
            "0 keeps none there. What lies there was computed from prompts."
        ),
    ] = 0
    prefix_disk_daily_bytes: Annotated[
        int,
        Ge(0),
        Doc("Most bytes of it written in a day, for each model, so that the disk is not worn out."),
    ] = 64 * 2**30
