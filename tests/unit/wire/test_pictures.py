"""Images in the three dialects: where they may stand, what becomes of them, what is refused."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from tests.scaffolding.shapes import check

from allod.core.errors import InvalidRequest
from allod.core.events import ChoiceFinished, Finished, TextDelta
from allod.core.ids import ModelName, RequestId, TenantId
from allod.core.pictures import MAX_PICTURES, Gallery, Picture, mark_of, pieces_of
from allod.core.request import Conversation
from allod.core.usage import Timings, Usage
from allod.wire.anthropic.request import decode_count, decode_messages
from allod.wire.dialect import Decoded, Envelope, Header
from allod.wire.openai.request import decode_chat
from allod.wire.pictures import hung
from allod.wire.responses.compact import decoded_compaction, understood_compaction
from allod.wire.responses.request import Known, decode_response, prepared, stored_input, understood
from allod.wire.tokens import decode_tokenize

ENVELOPE = Envelope(RequestId("r"), TenantId("t"), lambda: ModelName("m"))
PNG = "data:image/png;base64,AQID"
FILE = b"\1\2\3"
WEB = "https://example.com/a.png"
AGENTS: Sequence[Mapping[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "golden" / "pictures" / "agents.json").read_text()
)
DECODERS: Mapping[str, Callable[[bytes, Envelope], Decoded]] = {
    "/v1/chat/completions": decode_chat,
    "/v1/responses": decode_response,
    "/v1/messages": decode_messages,
}


def source_of(decoded: Decoded) -> Conversation:
    source = decoded.requests[0].source
    assert isinstance(source, Conversation)
    return source


def chat(*parts: object, role: str = "user", **fields: object) -> Conversation:
    body = {"messages": [{"role": role, "content": list(parts), **fields}]}
    return source_of(decode_chat(json.dumps(body).encode(), ENVELOPE))


def image_url(address: object = PNG, **fields: object) -> dict[str, object]:
    return {"type": "image_url", "image_url": address, **fields}


def text(words: str) -> dict[str, object]:
    return {"type": "text", "text": words}


def responses(*items: object) -> Conversation:
    return source_of(decode_response(json.dumps({"input": list(items)}).encode(), ENVELOPE))


def input_image(**fields: object) -> dict[str, object]:
    return {"type": "input_image", "image_url": PNG, **fields}


def said(*parts: object, role: str = "user") -> dict[str, object]:
    return {"type": "message", "role": role, "content": list(parts)}


def anthropic(*blocks: object, role: str = "user") -> Conversation:
    body = {"max_tokens": 9, "messages": [{"role": role, "content": list(blocks)}]}
    return source_of(decode_messages(json.dumps(body).encode(), ENVELOPE))


def image(kind: str = "base64", **source: object) -> dict[str, object]:
    source = source or {"media_type": "image/png", "data": "AQID"}
    return {"type": "image", "source": {"type": kind, **source}}


def result(*content: object, **fields: object) -> dict[str, object]:
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": list(content), **fields}


def written(content: str) -> str:
    """A content with its marks in brackets."""
    return "".join(f"[{piece}]" if isinstance(piece, int) else piece for piece in pieces_of(content))


def contents(conversation: Conversation) -> list[str]:
    return [written(message.content) for message in conversation.messages]


def refusal(ask: Callable[[], object]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        ask()
    assert caught.value.message.startswith(f"{caught.value.param}: ")
    assert len(caught.value.message) < 300
    return caught.value


@pytest.mark.parametrize("exchange", AGENTS, ids=lambda exchange: exchange["about"])
def test_what_agents_send(exchange: Mapping[str, Any]) -> None:
    """Images stand where their senders put them, in the order in which the messages have them."""
    source = source_of(DECODERS[exchange["path"]](json.dumps(exchange["body"]).encode(), ENVELOPE))
    assert contents(source) == exchange["contents"]
    found = [
        [one.source if isinstance(one.source, str) else one.source.decode(), one.field, one.detail]
        for one in source.pictures
    ]
    assert found == exchange["pictures"]


def test_parts_of_a_chat_keep_their_order() -> None:
    """Words are joined by a newline, an image by nothing; the same image twice is two."""
    source = chat(text("a"), text("b"), image_url(), text("c"), image_url({"url": WEB}), image_url())
    assert contents(source) == ["a\nb[0]c[1][2]"]
    assert source.pictures == (
        Picture(FILE, "messages[0].content[2].image_url"),
        Picture(WEB, "messages[0].content[4].image_url.url"),
        Picture(FILE, "messages[0].content[5].image_url"),
    )


@pytest.mark.parametrize(
    ("part", "detail"),
    [
        (image_url(), "auto"),
        (image_url({"url": PNG, "detail": "low"}), "low"),
        (image_url({"url": PNG, "detail": "high"}), "high"),
        (image_url({"url": PNG, "detail": "original"}), "auto"),
        (image_url({"url": PNG, "detail": None}, detail="low"), "low"),
        (image_url(detail="high"), "high"),
        ({"type": "input_image", "image_url": PNG, "detail": "low"}, "low"),
    ],
)
def test_details_of_a_chat(part: object, detail: str) -> None:
    """In the object or beside it; the Responses form of an image is understood as well."""
    assert chat(part).pictures[0].detail == detail


def test_unknown_fields_of_images_are_named() -> None:
    """As everywhere in messages."""
    part = image_url({"url": PNG, "x": 1}, cache_control={})
    decoded = decode_chat(json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode(), ENVELOPE)
    assert decoded.ignored == ("messages.content.cache_control", "messages.content.image_url.x")


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
def test_only_users_and_tools_show_images_in_a_chat(role: str) -> None:
    """Templates write images nowhere else."""
    error = refusal(lambda: chat(text("a"), image_url(), role=role))
    assert error.param == "messages[0].content[1]"
    assert f"is an image in a {role} message; send it in a user or a tool message" in error.message
    assert contents(chat(image_url(), role="tool", tool_call_id="c")) == ["[0]"]


WANTED = "a data URI such as data:image/png;base64,... or an http(s) address"


@pytest.mark.parametrize(
    ("part", "inside", "words"),
    [
        ({"type": "image_url"}, ".image_url", "is missing; send an object such as"),
        (image_url(None), ".image_url", "got null; send an object such as"),
        (image_url(5), ".image_url", "got 5; send an object such as"),
        (image_url({}), ".image_url.url", f"is missing; send {WANTED}"),
        (image_url({"url": 5}), ".image_url.url", f"got 5; send {WANTED}"),
        (image_url({"url": ""}), ".image_url.url", f'got ""; send {WANTED}'),
        (image_url("x" * 99), ".image_url", f'got "{"x" * 40}"; send {WANTED}'),
        (image_url("file:///etc/passwd"), ".image_url", f'got "file:///etc/passwd"; send {WANTED}'),
        (image_url({"url": "data:image/png;base64,!"}), ".image_url.url", "is not base64"),
        (image_url({"url": PNG + "\0"}), ".image_url.url", "NUL"),
        (image_url({"url": WEB + "\ud800"}), ".image_url.url", "surrogate"),
        (
            image_url({"url": PNG, "detail": "big"}),
            ".image_url.detail",
            'got "big"; send one of auto, low, high',
        ),
        (image_url(detail="big"), ".detail", 'got "big"; send one of auto, low, high'),
        (
            {"type": "video_url", "video_url": {"url": WEB}},
            "",
            "got a part of type video_url, not served here",
        ),
        ({"type": "file", "file": {}}, "", "got a part of type file, not served here"),
        ({"type": ["image_url"]}, "", "got a part of type a list of length 1, not served here"),
    ],
    ids=str,
)
def test_chat_refusals(part: object, inside: str, words: str) -> None:
    """The field, the problem, the way out."""
    error = refusal(lambda: chat(text("a"), part))
    assert error.param == f"messages[0].content[1]{inside}"
    assert words in error.message


def test_tokenize_takes_what_a_chat_takes() -> None:
    """The same decoder reads its messages."""
    body = json.dumps({"messages": [{"role": "user", "content": [image_url()]}]}).encode()
    source = decode_tokenize(body, ENVELOPE).source
    assert isinstance(source, Conversation)
    assert source.pictures == (Picture(FILE, "messages[0].content[0].image_url"),)


def test_images_of_responses() -> None:
    """In what the user says and in what both kinds of tools came to."""
    outputs = [
        {"type": f"{kind}_output", "call_id": "c", "output": [input_image(), text("b")]}
        for kind in ("function_call", "custom_tool_call")
    ]
    source = responses(said(text("a"), input_image(detail="low", image_url=WEB)), *outputs)
    assert contents(source) == ["a[0]", "[1]b", "[2]b"]
    assert source.pictures == (
        Picture(WEB, "input[0].content[1].image_url", "low"),
        Picture(FILE, "input[1].output[0].image_url"),
        Picture(FILE, "input[2].output[0].image_url"),
    )


@pytest.mark.parametrize(
    ("part", "inside", "words"),
    [
        (input_image(image_url=None), ".image_url", f"is missing; send {WANTED}"),
        ({"type": "input_image"}, ".image_url", f"is missing; send {WANTED}"),
        (input_image(image_url={"url": PNG}), ".image_url", f"got an object; send {WANTED}"),
        (input_image(image_url="a.png"), ".image_url", f'got "a.png"; send {WANTED}'),
        (input_image(image_url=WEB + "\ud800"), ".image_url", "surrogate"),
        (
            {"type": "input_image", "file_id": "file-1"},
            ".file_id",
            f"files are not looked at; send image_url instead: {WANTED}",
        ),
        (input_image(file_id=5), ".file_id", "got 5; send null"),
        (input_image(detail="big"), ".detail", 'got "big"; send one of auto, low, high'),
        ({"type": "input_audio"}, "", "sounds are not served yet"),
    ],
    ids=str,
)
def test_responses_refusals(part: object, inside: str, words: str) -> None:
    """The field, the problem, the way out."""
    error = refusal(lambda: responses(said(text("a"), part)))
    assert error.param == f"input[0].content[1]{inside}"
    assert words in error.message


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
def test_only_users_and_tools_show_images_in_responses(role: str) -> None:
    """As in a chat."""
    error = refusal(lambda: responses(said(input_image(), role=role)))
    assert error.param == "input[0].content[0]"
    assert (
        "is an image; send it in a message of the user or in the output of a function call" in error.message
    )


def test_images_of_a_history_are_kept_as_they_came() -> None:
    """What is stored is the client's item; a response that continues it sees the images first."""
    part = input_image(detail="original", x=1)
    read = understood(json.dumps({"input": [said(part, text("a"))]}).encode())
    kept = stored_input(read, Known(), "c")
    assert kept[0]["content"] == [part, text("a")]
    again = understood(json.dumps({"input": [said(text("b"), input_image(image_url=WEB))]}).encode())
    source = source_of(prepared(again, ENVELOPE, Known(kept)).decoded)
    assert contents(source) == ["[0]a", "b[1]"]
    assert [one.source for one in source.pictures] == [FILE, WEB]
    assert source.pictures[0].field == "previous_response_id.content[0].image_url"


def test_a_compaction_sees_images_and_hands_them_on() -> None:
    """The user's messages come back with their images."""
    read = understood_compaction(json.dumps({"input": [said(text("a"), input_image())]}).encode())
    decoded = decoded_compaction(read, ENVELOPE, Known())
    assert source_of(decoded).pictures == (Picture(FILE, "input[0].content[1].image_url"),)
    assert contents(source_of(decoded))[0] == "a[0]"
    collector = decoded.collector(Header("c", 1, "m", 1))
    for event in (TextDelta(0, "s"), ChoiceFinished(0, "stop"), Finished(Usage(1, 1), Timings(0, 0, 0))):
        collector.feed(event)
    answer = json.loads(collector.body())
    check("ResponseCompaction", answer)
    assert answer["output"][0]["content"] == [text("a"), input_image()]


def test_images_of_messages() -> None:
    """In a turn and in tool results and documents, in their order; results come before what is said."""
    document = {
        "type": "document",
        "title": "T",
        "source": {"type": "content", "content": [text("d"), image()]},
    }
    source = anthropic(
        image(),
        text("a"),
        result(text("r"), image("url", url=WEB)),
        document,
        image("url", url=PNG),
        text("b"),
    )
    assert contents(source) == ["r[0]", "[1]a\nT\nd[2][3]b"]
    assert source.pictures == (
        Picture(WEB, "messages.0.content.2.content.1.source.url"),
        Picture(FILE, "messages.0.content.0.source.data"),
        Picture(FILE, "messages.0.content.3.source.content.1.source.data"),
        Picture(FILE, "messages.0.content.4.source.url"),
    )
    assert contents(anthropic(result(image(), is_error=True))) == ["Error: [0]"]


def test_images_are_counted() -> None:
    """A count sees the prompt that an answer has."""
    body = json.dumps({"messages": [{"role": "user", "content": [text("a"), image()]}]}).encode()
    assert decode_count(body, ENVELOPE).source == anthropic(text("a"), image())


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"type": "image"}, "messages.0.content.1.source: Field required"),
        (image(data=""), "messages.0.content.1.source.data: holds no data"),
        (image(data="a!"), "messages.0.content.1.source.data: is not base64: character 1 is !"),
        (image(data=PNG), "messages.0.content.1.source.data: is not base64: character 4 is :"),
        (image(data=5), "messages.0.content.1.source.data: Input should be a valid string"),
        (image(media_type="image/png"), "messages.0.content.1.source.data: Field required"),
        (image("url", url="a.png"), 'messages.0.content.1.source.url: got "a.png"; send a data URI'),
        (
            image("file", file_id="f"),
            "messages.0.content.1.source: images of type `file` are not served here; send one of type",
        ),
        (result(image("file", file_id="f")), "messages.0.content.1.content.0.source: images of type `file`"),
    ],
    ids=str,
)
def test_refusals_of_messages(block: object, words: str) -> None:
    """In Anthropic's form of locations."""
    assert refusal(lambda: anthropic(text("a"), block)).message.startswith(words)


@pytest.mark.parametrize("role", ["assistant", "system"])
def test_only_users_show_images_in_messages(role: str) -> None:
    """As their API has it."""
    error = refusal(lambda: anthropic(text("a"), image(), role=role))
    assert error.message == "messages.0.content.1: `image` blocks can only be in `user` messages"


def test_there_are_so_many_images_and_no_more() -> None:
    """One more is refused on its field."""
    assert len(chat(*[image_url()] * MAX_PICTURES).pictures) == MAX_PICTURES
    error = refusal(lambda: chat(*[image_url()] * (MAX_PICTURES + 1)))
    assert error.param == f"messages[0].content[{MAX_PICTURES}].image_url"
    assert "is one image too many: a conversation has at most 1024" in error.message
    gallery = Gallery()
    assert hung(gallery, Picture(FILE, "a")) == mark_of(0)


LARGE = "A" * 13_981_016
"""Base64 of a file of ten megabytes."""


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [said(image_url("data:image/png;base64," + LARGE))]}),
        ("/v1/responses", {"input": [said(input_image(image_url="data:image/png;base64," + LARGE))]}),
        ("/v1/messages", {"max_tokens": 1, "messages": [said(image(data=LARGE))]}),
    ],
    ids=["chat", "responses", "messages"],
)
def test_large_images_do_not_hold_up_the_house(path: str, body: object) -> None:
    """The event loop waits for the decoder: ten megabytes take it about 30 ms, and never half a second."""
    encoded = json.dumps(body).encode()
    start = process_time()
    source = source_of(DECODERS[path](encoded, ENVELOPE))
    assert process_time() - start < 0.5
    assert len(source.pictures[0].source) == len(LARGE) // 4 * 3
