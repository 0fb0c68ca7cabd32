"""The client of the public API: what it sends, what it makes of answers, whole or broken."""

import json
from collections.abc import Iterator

import httpx2
import pytest

from allod.cli.announce import example, trouble
from allod.cli.chat import Conversation, choose
from allod.cli.client import ChatClient, Measured
from allod.core.errors import AllodError, Busy, ModelNotFound, ModelUnavailable


class Server(httpx2.BaseTransport):
    """Answers every request with the same bytes, in pieces; keeps what it was asked."""

    def __init__(self, *pieces: bytes, status: int = 200) -> None:
        self.pieces = pieces
        self.status = status
        self.requests: list[httpx2.Request] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.requests.append(request)
        return httpx2.Response(self.status, content=iter(self.pieces))


def client(server: Server, key: str | None = None) -> ChatClient:
    return ChatClient("http://test/", key, server)


def event(**chunk: object) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def delta(text: str | None) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}}])


def whole() -> bytes:
    usage = event(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8})
    return b": ping\n\n" + delta(None) + delta("Grüß") + delta(" Gott") + usage + b"data: [DONE]\n\n"


def cuts() -> Iterator[int]:
    yield from range(1, len(whole()), 7)


@pytest.mark.parametrize("cut", list(cuts()))
def test_any_cut_of_the_stream_gives_the_same_answer(cut: int, capsys: pytest.CaptureFixture[str]) -> None:
    """However the network cuts the bytes, the text is the same, and is kept for the next turn."""
    data = whole()
    server = Server(data[:cut], data[cut:])
    talk = Conversation(client(server, "secret"), "m", max_tokens=7, temperature=0.0)
    talk.ask("Hallo")
    assert capsys.readouterr().out == "Grüß Gott\n"
    assert [turn.content for turn in talk.turns] == ["Hallo", "Grüß Gott"]
    (request,) = server.requests
    assert request.headers["authorization"] == "Bearer secret"
    body = json.loads(request.content)
    assert (body["model"], body["max_completion_tokens"], body["temperature"], body["stream"]) == (
        "m",
        7,
        0.0,
        True,
    )


def test_the_next_turn_carries_the_conversation() -> None:
    """A second question sends the first one and its answer along."""
    server = Server(whole())
    talk = Conversation(client(server), "m")
    talk.ask("one")
    talk.ask("two")
    sent = json.loads(server.requests[1].content)["messages"]
    assert [(turn["role"], turn["content"]) for turn in sent] == [
        ("user", "one"),
        ("assistant", "Grüß Gott"),
        ("user", "two"),
    ]
    assert "temperature" not in json.loads(server.requests[1].content)


@pytest.mark.parametrize(
    ("server", "kind", "words"),
    [
        (Server(b'{"error":{"message":"no such model"}}', status=404), ModelNotFound, "no such model"),
        (Server(b'{"error":{"message":"the queue is full"}}', status=503), Busy, "the queue is full"),
        (Server(b"<html>", status=502), AllodError, "answered 502"),
        (Server(event(error={"message": "worker died"})), ModelUnavailable, "worker died"),
        (Server(delta("half")), ModelUnavailable, "closed the stream"),
        (Server(b"data: {]\n\n"), ModelUnavailable, "not an answer"),
    ],
)
def test_failures(server: Server, kind: type[AllodError], words: str) -> None:
    """A refusal, a broken stream and foreign bytes each become one error with the server's words."""
    talk = Conversation(client(server), "m")
    with pytest.raises(kind, match=words):
        talk.ask("x")


def test_a_turn_without_an_answer_leaves_no_trace() -> None:
    """After a refusal the conversation is as it was."""
    talk = Conversation(client(Server(b"{}", status=503)), "m")
    with pytest.raises(Busy):
        talk.ask("x")
    assert talk.turns == []


@pytest.mark.parametrize(
    ("names", "words", "chosen"),
    [
        (("m",), (), ("m", ())),
        (("m",), ("hello", "you"), ("m", ("hello", "you"))),
        (("m", "n"), ("n", "hello"), ("n", ("hello",))),
        (("m",), ("m",), ("m", ())),
    ],
)
def test_which_model_is_meant(
    names: tuple[str, ...], words: tuple[str, ...], chosen: tuple[str, tuple[str, ...]]
) -> None:
    """The first word is the model when it is one; else the only one answers."""
    assert choose(names, words) == chosen


@pytest.mark.parametrize("names", [(), ("m", "n")])
def test_no_guessing_between_models(names: tuple[str, ...]) -> None:
    """With none or several and no name, it asks for one."""
    with pytest.raises(ModelNotFound, match="name the model first"):
        choose(names, ("hello",))


def test_model_names() -> None:
    """The names are those of the server's list."""
    assert client(Server(b'{"object":"list","data":[{"id":"a"},{"id":"b"}]}')).model_names() == ("a", "b")


def test_what_was_measured() -> None:
    """The rate counts the tokens after the first one, over the time after it."""
    measured = Measured(
        0.0, first_token_seconds=0.5, prompt_tokens=5, completion_tokens=11, total_seconds=2.5
    )
    assert measured.words() == "5 + 11 tokens, first after 500 ms, then 5.0 tokens/s"
    assert Measured(0.0).words() == "no text"


def test_the_line_to_try_is_valid_json_in_single_quotes() -> None:
    """What `allod up` prints can be pasted into a shell."""
    line = example("http://127.0.0.1:1", "m")
    body = line.split("-d '")[1].removesuffix("'")
    assert json.loads(body)["model"] == "m"
    assert body.count("'") == 0
    assert "allod pull" in example("http://127.0.0.1:1", None)


def test_why_it_will_not_be_ready() -> None:
    """The server's reason is passed on; a body that says nothing points at the log."""
    assert trouble(b'{"models":[{"name":"m","detail":"too big"}]}') == "not ready: m: too big"
    assert trouble(b"?") == "not ready: the log says why"
