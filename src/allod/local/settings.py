"""What the owner can set about models in memory and the processes that hold them."""

from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge, Gt


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Limits of residency and supervision."""

    max_resident_models: Annotated[
        int, Ge(1), Doc("Models kept in memory at a time, one worker process each.")
    ] = 1
    load_timeout_seconds: Annotated[
        float, Gt(0), Doc("Longest a model may take to load, and longest a request waits for one.")
    ] = 600.0
    stall_timeout_seconds: Annotated[
        float, Gt(0), Doc("A worker that owes answers and is silent for this long is killed and restarted.")
    ] = 120.0
    stop_grace_seconds: Annotated[
        float, Ge(0), Doc("Longest a stopping worker may take to finish the answers it has begun.")
    ] = 60.0
    restart_backoff_seconds: Annotated[
        float, Gt(0), Doc("Wait before a dead worker's first restart; doubles up to 30 seconds.")
    ] = 0.5
    accept_wait_seconds: Annotated[
        float, Ge(0), Doc("Longest a stream's headers wait for a model that is loading.")
    ] = 0.9
    picture_idle_seconds: Annotated[
        float, Gt(0), Doc("A process that makes pictures ready ends when none came for so long.")
    ] = 300.0
