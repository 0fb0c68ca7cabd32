"""Addresses are fetched only when allowed, only from where allowed, and never for long."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from allod.core.errors import InvalidRequest
from allod.media.addresses import is_public
from allod.media.fetch import fetch
from allod.media.settings import MediaSettings

FIELD = "messages[0].content[1].image_url.url"
OPEN = MediaSettings(
    allow_urls=True, allow_private_addresses=True, url_timeout_seconds=5.0, max_picture_bytes=2000
)
GUARDED = replace(OPEN, allow_private_addresses=False)
NAME = "pictures.example"
NOT_REACHED = (
    f"{FIELD}: names no host that pictures are fetched from; use a public address, or send the picture"
)
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgcs9GmKNxteiGYYD4
WKDEmbSjy/F4o+kOy9vBKSU7QI+hRANCAAQKo+Gh4rG1HD2aIYU6XLd/4/uozOns
7gfOCkhxrUExcqZQUlgr5+7SSYHd5CCSDAXzRcHRTn46L+X7Cb8z+jM5
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBijCCAS+gAwIBAgIUYzP0G5TFpgPC++VpiX5K9eviqtUwCgYIKoZIzj0EAwIw
GzEZMBcGA1UEAwwQcGljdHVyZXMuZXhhbXBsZTAgFw0yMDAxMDEwMDAwMDBaGA8y
MTIwMDEwMTAwMDAwMFowGzEZMBcGA1UEAwwQcGljdHVyZXMuZXhhbXBsZTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABAqj4aHisbUcPZohhTpct3/j+6jM6ezuB84K
SHGtQTFyplBSWCvn7tJJgd3kIJIMBfNFwdFOfjov5fsJvzP6MzmjTzBNMA8GA1Ud
EwEB/wQFMAMBAf8wHQYDVR0OBBYEFEoLeicqTJ5A+2w0wX/Z+Vx1rVolMBsGA1Ud
EQQUMBKCEHBpY3R1cmVzLmV4YW1wbGUwCgYIKoZIzj0EAwIDSQAwRgIhAOASVMDK
X2LkwWjQlLlhUTYtbHaemZjdWz5nujucU9PkAiEA5UNgnmmvnTdEbt1fSII5kKme
W5Cj7tz9OPT4cVNYzOk=
-----END CERTIFICATE-----
"""  # for pictures.example, made for this test, trusted by nobody else

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[None]]


@dataclass
class Site:
    """A server on this machine, and what it was asked."""

    port: int = 0
    heads: list[str] = field(default_factory=list[str])

    def url(self, path: str = "/a.png", *, host: str = NAME, scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@asynccontextmanager
async def site(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    found = Site()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            found.heads.append(head)
            await talk(reader, writer, head)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0, ssl=tls)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()


def answers(
    body: bytes = b"picture", status: str = "200 OK", *headers: str, length: int | None = None
) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return talk


def redirects(where: Callable[[str], str], status: str = "302 Found") -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        await answers(b"", status, f"Location: {where(head.split()[1])}")(reader, writer, head)

    return talk


class Names:
    """A resolver that knows what it is told, and counts how often it is asked."""

    def __init__(self, *turns: Sequence[str]) -> None:
        self.turns = list(turns) or [["127.0.0.1"]]
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.turns[min(len(self.asked), len(self.turns)) - 1]


async def refusal(
    url: str,
    settings: MediaSettings = OPEN,
    resolve: Callable[[str, int], Awaitable[Sequence[str]]] | None = None,
    trust: Callable[[], ssl.SSLContext] = ssl.create_default_context,
) -> str:
    with pytest.raises(InvalidRequest) as caught:
        await fetch(url, FIELD, settings, resolve or Names(), trust)
    assert caught.value.param == FIELD
    assert caught.value.message.startswith(f"{FIELD}: ")
    return caught.value.message


async def test_a_picture_arrives() -> None:
    """Name and port go into the Host header; neither cookies nor a content encoding are asked for."""
    names = Names()
    async with site(answers()) as there:
        assert await fetch(there.url("/a%20b?c=d#e"), FIELD, OPEN, names) == b"picture"
    assert names.asked == [(NAME, there.port)]
    head = there.heads[0].lower()
    assert head.startswith("get /a%20b?c=d http/1.1\r\n")
    assert f"\r\nhost: {NAME}:{there.port}\r\n" in head
    assert "\r\naccept-encoding: identity\r\n" in head
    assert "cookie" not in head


async def test_the_system_resolves_by_itself() -> None:
    """Without a resolver of the caller's, the machine's is asked; numbers need none."""
    async with site(answers()) as there:
        assert await fetch(there.url(host="127.0.0.1"), FIELD, OPEN) == b"picture"
        assert (await refusal(there.url(host="127.0.0.1"), GUARDED)).startswith(NOT_REACHED)


async def test_nothing_is_fetched_unless_the_owner_allows_it() -> None:
    """The refusal names both ways out, and nobody is asked."""
    names = Names()
    message = await refusal("http://pictures.example/a.png", MediaSettings(), names)
    assert "this server fetches none; send the picture itself as a data URI" in message
    assert "media.allow_urls" in message
    assert names.asked == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///etc/passwd", "is not an http or https address"),
        ("ftp://pictures.example/a", "is not an http or https address"),
        ("gopher://127.0.0.1:25/", "is not an http or https address"),
        ("/etc/passwd", "is not an http or https address"),
        ("", "is not an http or https address"),
        ("http:///a", "is not an http or https address"),
        ("http://a b/", "is not an http or https address"),
        ("http://.example/", "is not an http or https address"),
        ("http://user:word@pictures.example/", "has a user name in its address"),
        ("http://h/\r\nx: y", "is not a valid address"),
        ("http://[::1/", "is not a valid address"),
        ("http://h:port/", "is not a valid address"),
        ("http://h/" + "a" * 9000, "is not a valid address"),
    ],
)
async def test_only_plain_web_addresses_are_asked(url: str, words: str) -> None:
    """Other schemes, credentials and broken addresses are refused by their form, before any look-up."""
    names = Names()
    assert words in await refusal(url, OPEN, names)
    assert names.asked == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "233.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.0.8", "192.88.99.1",
        "198.18.0.1", "192.0.2.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b:1::1", "2002:7f00:1::", "2001::1", "2001:db8::1", "3fff::1", "fec0::1", "100::1", "5f00::1",
        "localhost", "", "0x7f.1", "2130706433",
    ],
)  # fmt: skip
async def test_private_addresses_are_refused_in_the_words_for_unknown_names(address: str) -> None:
    """Whether a name exists inside cannot be told; one bad address among good ones is enough."""
    assert not is_public(address)
    for found in ([address], ["8.8.8.8", address], []):
        assert (await refusal("http://inside.example/", GUARDED, Names(found))).startswith(NOT_REACHED)

    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    assert (await refusal("http://inside.example/", GUARDED, unknown)).startswith(NOT_REACHED)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2001:4860:4860::8888", "2606:4700:4700::1111"])
def test_public_addresses_are_public(address: str) -> None:
    """What anybody reaches may be fetched from."""
    assert is_public(address)


async def test_a_name_is_resolved_once() -> None:
    """A name that is public at first and private the next moment (DNS rebinding) is never asked again."""
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    async with site(answers()) as there:
        assert await fetch(there.url(), FIELD, OPEN, names) == b"picture"
    assert len(names.asked) == 1


async def test_further_addresses_are_tried() -> None:
    """A host whose first address is dead is reached at its second."""
    async with site(answers()) as there:
        names = Names(["127.0.0.3", "127.0.0.1"])
        assert await fetch(there.url(), FIELD, OPEN, names) == b"picture"


@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
async def test_redirects_are_followed_and_counted(status: str) -> None:
    """Relative and absolute ones, as often as the settings allow; each hop is resolved anew."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        step = int(head.split()[1].strip("/"))
        nearer = f"/{step - 1}" if step % 2 else f"http://other.example:{there.port}/{step - 1}"
        answer = redirects(lambda _: nearer, status) if step else answers()
        await answer(reader, writer, head)

    names = Names()
    async with site(talk) as there:
        assert await fetch(there.url("/3"), FIELD, OPEN, names) == b"picture"
        assert [host for host, _ in names.asked] == [NAME, NAME, "other.example", "other.example"]
        message = await refusal(there.url("/4"))
        assert "redirects more than 3 times; send the address it leads to" in message


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("http://inside.example/", "names no host that pictures are fetched from"),
        ("http://user@pictures.example/", "has a user name in its address"),
        ("file:///etc/passwd", "is not an http or https address"),
        ("http://[::1/", "is not a valid address"),
    ],
)
async def test_every_hop_is_judged(where: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A public host cannot send this server inside, nor anywhere else it would not go at first."""
    inside = {"127.0.0.9"}
    monkeypatch.setattr("allod.media.fetch.is_public", lambda address: address not in inside)
    async with site(redirects(lambda _: where)) as there:
        names = Names(["127.0.0.1"], ["127.0.0.9"])
        assert words in await refusal(there.url(), GUARDED, names)


async def test_a_redirect_to_nowhere_is_refused() -> None:
    """A redirect without a Location leads nowhere."""
    async with site(answers(b"", "302 Found")) as there:
        assert "redirects to nowhere" in await refusal(there.url())


@pytest.mark.parametrize(
    ("talk", "words"),
    [
        (answers(b"x", "404 Not Found"), "its host answers with status 404; see that anybody may get it"),
        (answers(b"x", "206 Partial Content"), "its host answers with status 206"),
        (answers(bytes(2001)), "is a file of more than 2000 bytes"),
        (answers(b"x", length=10**12), "is a file of more than 2000 bytes"),
        (answers(b"x", length=50), "its host does not answer, or not by the rules"),
        (answers(b"x", "200 OK", "Content-Encoding: gzip"), "comes in a content encoding"),
        (answers(b"x", "200 OK", "X: " + "y" * 200_000), "not by the rules"),
        (answers(b"x", "900 What"), "status 900"),
    ],
)
async def test_bad_answers_are_refused_in_words(talk: Talk, words: str) -> None:
    """Statuses, sizes, lies about sizes, encodings and endless headers."""
    async with site(talk) as there:
        assert words in await refusal(there.url())


async def test_the_last_allowed_byte_arrives() -> None:
    """A file of exactly the limit is read."""
    async with site(answers(bytes(2000))) as there:
        assert len(await fetch(there.url(), FIELD, OPEN, Names())) == 2000


async def test_an_endless_body_is_cut_off_at_the_limit() -> None:
    """A host that announces no length, and sends on and on, is left as soon as the limit is passed."""
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100_000):
            writer.write(b"400\r\n" + bytes(1024) + b"\r\n")
            await writer.drain()
            sent += 1024

    async with site(talk) as there:
        assert "is a file of more than 2000 bytes" in await refusal(there.url())
    assert sent < 50_000_000


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"])
async def test_a_slow_drip_ends_at_the_deadline(first: bytes) -> None:
    """The time is for all of it: a byte now and then prolongs nothing."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        writer.write(first)
        for letter in b"HTTP/1.1 200 OK" * 20:
            writer.write(bytes([letter]))
            await writer.drain()
            await asyncio.sleep(0.05)

    started = asyncio.get_running_loop().time()
    async with site(talk) as there:
        message = await refusal(there.url(), replace(OPEN, url_timeout_seconds=0.4))
    assert "did not arrive within 0.4 seconds" in message
    assert asyncio.get_running_loop().time() - started < 2


async def test_a_slow_resolver_ends_at_the_deadline() -> None:
    """Looking a name up counts too."""

    async def slow(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return []

    message = await refusal("http://pictures.example/", replace(OPEN, url_timeout_seconds=0.1), slow)
    assert "did not arrive within 0.1 seconds" in message


async def test_garbage_and_silence_are_no_answers() -> None:
    """A host that speaks another protocol, hangs up, or does not listen, is refused in one sentence."""

    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        writer.write(b"220 smtp ready\r\n")

    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        pass

    for talk in (garbage, nothing):
        async with site(talk) as there:
            assert "its host does not answer, or not by the rules" in await refusal(there.url())
    assert "its host does not answer" in await refusal(there.url())


async def test_the_environment_and_the_log_have_no_part(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Proxies of the environment are not used, and at no level is the address or the content logged."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    caplog.set_level(logging.DEBUG)
    async with site(answers(b"secret-picture", "200 OK", "X-Secret: secret-header")) as there:
        assert await fetch(there.url("/secret-path"), FIELD, OPEN, Names()) == b"secret-picture"
    assert "secret" not in caplog.text
    assert NAME not in caplog.text


async def test_tls_is_checked_by_name_on_the_judged_address(tmp_path: Path) -> None:
    """The certificate must be that of the name in the address, though the connection goes to a number."""
    pem = tmp_path / "pictures.pem"
    pem.write_text(CERTIFICATE)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    asked: list[str | None] = []
    tls.sni_callback = lambda _, name, __: asked.append(name)

    def trust() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(pem))

    async with site(answers(), tls) as there:
        assert await fetch(there.url(scheme="https"), FIELD, OPEN, Names(), trust) == b"picture"
        assert asked == [NAME]
        assert "does not answer" in await refusal(
            there.url(scheme="https", host="other.example"), trust=trust
        )
        assert "does not answer" in await refusal(there.url(scheme="https"))
    assert len(there.heads) == 1


async def test_https_never_becomes_http(tmp_path: Path) -> None:
    """A redirect from https to http is refused, and the http host is never asked."""
    pem = tmp_path / "pictures.pem"
    pem.write_text(CERTIFICATE)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(site(answers()))
        secure = await stack.enter_async_context(site(redirects(lambda _: plain.url()), tls))
        message = await refusal(
            secure.url(scheme="https"), trust=lambda: ssl.create_default_context(cafile=str(pem))
        )
    assert "redirects from https to http" in message
    assert plain.heads == []
