"""What the owner can set about the HTTP door."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_doc import Doc
from annotated_types import Ge, Gt, Le

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Where the server listens, whom it answers, and for how long it holds the line."""

    host: Annotated[
        str,
        Doc("Address to listen on; `localhost` is 127.0.0.1 and ::1, `0.0.0.0` every interface."),
    ] = "127.0.0.1"
    port: Annotated[int, Ge(0), Le(65_535), Doc("Port to listen on; 0 takes a free one.")] = 8484
    preload: Annotated[
        tuple[str, ...],
        Doc("Models to load at the start; when empty and the catalogue has exactly one model, that one."),
    ] = ()
    keys: Annotated[
        Literal["auto", "always"],
        Doc("`auto` asks for an API key beyond loopback, and once a key exists; `always` always does."),
    ] = "auto"
    allow_unauthenticated_lan: Annotated[
        bool,
        Doc("Serve beyond loopback without any API key: whoever reaches the port may use it."),
    ] = False
    allowed_hosts: Annotated[
        tuple[str, ...],
        Doc("Names a Host header may carry, besides the loopback names and the address listened on."),
    ] = ()
    allowed_origins: Annotated[
        tuple[str, ...],
        Doc("Origins whose web pages may call this server, such as https://chat.example.com."),
    ] = ()
    max_body_bytes: Annotated[
        int, Ge(1024), Doc("Longest request body that is read; pictures are in it, a third longer as base64.")
    ] = 64 * _MIB
    keepalive_seconds: Annotated[
        float,
        Gt(0),
        Le(300),
        Doc("A stream silent for so long carries a comment, so nobody hangs up."),
    ] = 10.0
    max_connections: Annotated[
        int, Ge(8), Doc("Connections served at a time; one more gets a 503. Each takes a file descriptor.")
    ] = 2048
    head_seconds: Annotated[
        float,
        Gt(0),
        Le(3600),
        Doc("A new client that says nothing for so long is hung up on; the head of a request has as long."),
    ] = 30.0
    body_gap_seconds: Annotated[
        float,
        Gt(0),
        Le(3600),
        Doc("A request gets a 408 if nothing more of its body comes for so long."),
    ] = 60.0
    stalled_seconds: Annotated[
        float,
        Gt(0),
        Le(3600),
        Doc("A client that takes nothing of what waits for it for so long is cut off."),
    ] = 60.0
    max_unread_events: Annotated[
        int,
        Ge(16),
        Doc("A stream whose client leaves so many events unread is broken off with an error event."),
    ] = 4096
    shutdown_grace_seconds: Annotated[
        float, Ge(0), Le(3600), Doc("How long open answers may go on after the server was told to stop.")
    ] = 10.0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Doc("Least severe log lines that are written.")
    ] = "info"

    def __post_init__(self) -> None:
        """Refuse origins that no browser sends."""
        for origin in self.allowed_origins:
            if "://" not in origin or "*" in origin:
                raise ValueError(
                    f"allowed_origins: {origin!r} is not an exact origin; write scheme://host or scheme://host:port"
                )
