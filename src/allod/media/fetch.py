"""Pictures from addresses. The caller chooses where this server connects to, so every step is distrusted.

A name is resolved once, its addresses are judged, and the connection goes to exactly those: a name that
resolves differently the next time (DNS rebinding) gains nothing. Transports are used without a client
around them, which would read the environment, keep cookies, follow redirects and log addresses.
"""

import asyncio
import functools
import logging
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2

from allod.core.errors import InvalidRequest, refused
from allod.media.addresses import is_public
from allod.media.settings import MediaSettings

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Name and port -> IP addresses, best first. Raises OSError where there are none."""

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9._-]*|[0-9A-Fa-f:.]+")
_OK = 200
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_ADDRESSES = 3
_LONGEST_ADDRESS = 8192
_SEND_DATA = "send the picture itself as a data URI"
_NOT_REACHED = f"names no host that pictures are fetched from; use a public address, or {_SEND_DATA}"
"""The same words for a name that does not exist and for one that leads inside: callers learn no names."""

# Below this level the library writes the headers of answers, and so addresses, into the log.
logging.getLogger("httpcore2").setLevel(logging.WARNING)


@functools.cache
def system_trust() -> ssl.SSLContext:
    """TLS as this machine trusts it; reads files the first time."""
    return httpx2.create_ssl_context(trust_env=False)


async def system_resolve(host: str, port: int) -> list[str]:
    """What this machine's resolver says."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(where[0]) for *_, where in found]


async def fetch(
    address: str,
    field: str,
    settings: MediaSettings,
    resolve: Resolve = system_resolve,
    trust: Callable[[], ssl.SSLContext] = system_trust,
) -> bytes:
    """The file at an address, of at most `max_picture_bytes` bytes.

    Args:
        address: http or https.
        field: where it stands in the request; the error names it.
        settings: whether, from where and for how long anything is fetched.
        resolve: finds the addresses of a host.
        trust: which certificates count; called on a thread.

    Raises:
        InvalidRequest: nothing is fetched, or not this, or it did not arrive; the message says which.
    """
    if not settings.allow_urls:
        raise refused(
            field,
            "is an address, and this server fetches none; "
            f"{_SEND_DATA}, or let the owner of the server set media.allow_urls",
        )
    fetcher = _Fetcher(field, settings, resolve, trust)
    try:
        async with asyncio.timeout(settings.url_timeout_seconds):
            return await fetcher.followed(fetcher.parsed(address))
    except TimeoutError as error:
        raise refused(
            field, f"did not arrive within {settings.url_timeout_seconds:g} seconds; {_SEND_DATA}"
        ) from error


@dataclass(frozen=True, slots=True)
class _Fetcher:
    """One picture on its way."""

    field: str
    settings: MediaSettings
    resolve: Resolve
    trust: Callable[[], ssl.SSLContext]

    def refused(self, sentence: str) -> InvalidRequest:
        return refused(self.field, sentence)

    def parsed(self, address: str, base: httpx2.URL | None = None) -> httpx2.URL:
        """An address that may be asked, as far as its form goes; `base` is what redirected to it."""
        try:
            if len(address) > _LONGEST_ADDRESS:
                raise httpx2.InvalidURL("too long")
            url = httpx2.URL(address) if base is None else base.join(address)
        except httpx2.InvalidURL as error:
            raise self.refused(f"is not a valid address; {_SEND_DATA}") from error
        if url.scheme not in _PORTS or not _HOST.fullmatch(url.raw_host):
            raise self.refused(f"is not an http or https address; write https://host/path, or {_SEND_DATA}")
        if url.userinfo:
            raise self.refused(f"has a user name in its address; leave it out, or {_SEND_DATA}")
        if base is not None and base.scheme == "https" and url.scheme == "http":
            raise self.refused(f"redirects from https to http; {_SEND_DATA}")
        return url

    async def followed(self, url: httpx2.URL) -> bytes:
        """The file at a URL or where it redirects to."""
        for _ in range(self.settings.max_redirects + 1):
            async with self._asked(url) as answer:
                if answer.status_code not in _REDIRECTS:
                    return await self._read(answer)
                location = answer.headers.get("location")
            if location is None:
                raise self.refused(f"redirects to nowhere; {_SEND_DATA}")
            url = self.parsed(location, base=url)
        raise self.refused(
            f"redirects more than {self.settings.max_redirects} times; "
            f"send the address it leads to, or {_SEND_DATA}"
        )

    async def _judged(self, url: httpx2.URL) -> list[str]:
        """The addresses of a URL's host, if all of them may be connected to."""
        port = url.port or _PORTS[url.scheme]
        try:
            found = list(dict.fromkeys(await self.resolve(url.raw_host.decode("ascii"), port)))
        except (OSError, UnicodeError) as error:
            raise self.refused(_NOT_REACHED) from error
        if not found or not (self.settings.allow_private_addresses or all(map(is_public, found))):
            raise self.refused(_NOT_REACHED)
        return found[:_MOST_ADDRESSES]

    @asynccontextmanager
    async def _asked(self, url: httpx2.URL) -> AsyncGenerator[httpx2.Response]:
        """The answer of a URL's host, body unread. Each hop connects anew, by its own name."""
        found = await self._judged(url)
        patience = self.settings.url_timeout_seconds / len(found)
        trust = await asyncio.to_thread(self.trust)
        async with httpx2.AsyncHTTPTransport(verify=trust, trust_env=False) as transport:
            try:
                answer = await _first_answer(transport, [_request(url, to, patience) for to in found])
                try:
                    yield answer
                finally:
                    await answer.aclose()
            except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, ValueError) as error:
                raise self.refused(
                    f"cannot be fetched: its host does not answer, or not by the rules; {_SEND_DATA}"
                ) from error

    async def _read(self, answer: httpx2.Response) -> bytes:
        if answer.status_code != _OK:
            raise self.refused(
                f"cannot be fetched: its host answers with status {answer.status_code}; "
                f"see that anybody may get it, or {_SEND_DATA}"
            )
        if answer.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise self.refused(f"comes in a content encoding, though none was asked for; {_SEND_DATA}")
        most = self.settings.max_picture_bytes
        announced = answer.headers.get("content-length", "")
        data = bytearray()
        if not (announced.isdecimal() and int(announced) > most):
            async for piece in answer.aiter_raw():
                data += piece
                if len(data) > most:
                    break
            else:
                return bytes(data)
        raise self.refused(f"is a file of more than {most} bytes, the most that are read; send it smaller")


def _request(url: httpx2.URL, to: str, connect_seconds: float) -> httpx2.Request:
    """A request to one address of the URL's host, with the host's name in it and in its TLS."""
    return httpx2.Request(
        "GET",
        url.copy_with(host=to, fragment=None),
        headers={
            "Host": url.netloc.decode("ascii"),
            "Accept": "image/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": "allod",
        },
        extensions={
            "sni_hostname": url.raw_host.decode("ascii"),
            "timeout": {"connect": connect_seconds},
        },
    )


async def _first_answer(
    transport: httpx2.AsyncHTTPTransport, requests: Sequence[httpx2.Request]
) -> httpx2.Response:
    """The answer to the first request whose address can be connected to."""
    for request in requests[:-1]:
        try:
            return await transport.handle_async_request(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            continue
    return await transport.handle_async_request(requests[-1])
