"""What is spliced is what would have been encoded: streams are byte for byte those of whole objects."""

import json
from collections.abc import Callable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from allod.core.events import Accepted, Event, ReasoningDelta, ScoredToken, TextDelta, TokenLogprob
from allod.core.ids import ModelName, RequestId, TenantId
from allod.wire.anthropic.request import decode_messages
from allod.wire.dialect import Decoded, Envelope, FrameEncoder, Header
from allod.wire.openai.request import decode_chat, decode_completion
from allod.wire.responses.request import decode_response
from allod.wire.sse import SseParser, one_line

HEADER = Header("1f", 7, "tiny", 2)
ENVELOPE = Envelope(RequestId("req-1f"), TenantId("local"), lambda: ModelName("tiny"))
TURN = [{"role": "user", "content": "hi"}]
SCORE = (ScoredToken(TokenLogprob("x", b"x", -1.0), ()),)
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.text(st.sampled_from('\0\x1f"\\\n\r\u0085\u2028\u2029é😀<,:0'), min_size=1),
)
pieces = st.lists(texts, min_size=1, max_size=6)


def decoded(decoder: Callable[[bytes, Envelope], Decoded], **body: object) -> FrameEncoder:
    return decoder(json.dumps({"stream": True, **body}).encode(), ENVELOPE).encoder(HEADER)


def data_of(*frames: bytes) -> list[dict[str, object]]:
    parser = SseParser()
    return [json.loads(data) for frame in frames for data in parser.feed(frame)]


def whole(value: object) -> bytes:
    """An object as msgspec writes it, with line ends of Unicode escaped."""
    return one_line(msgspec.json.encode(value))


@given(texts=pieces, choices=st.lists(st.integers(0, 1), min_size=6, max_size=6), usage=st.booleans())
def test_chat_and_completions(texts: list[str], choices: list[int], usage: bool) -> None:
    """Each chunk is the whole object, encoded at once, whatever the text and whichever the choice."""
    options = {"stream_options": {"include_usage": True}} if usage else {}
    chat = decoded(decode_chat, messages=TURN, **options)
    plain = decoded(decode_completion, prompt="hi", **options)
    last: dict[str, object] = {"usage": None} if usage else {}
    for text, choice in zip(texts, choices, strict=False):
        rest = {"logprobs": None, "finish_reason": None}
        chunk = {
            "id": "chatcmpl-1f", "object": "chat.completion.chunk", "created": 7, "model": "tiny",
            "choices": [{"index": choice, "delta": {"content": text}, **rest}], **last,
        }  # fmt: skip
        assert chat.feed(TextDelta(choice, text)) == b"data: " + whole(chunk) + b"\n\n"
        chunk |= {
            "id": "cmpl-1f", "object": "text_completion",
            "choices": [{"text": text, "index": choice, **rest}],
        }  # fmt: skip
        assert plain.feed(TextDelta(choice, text)) == b"data: " + whole(chunk) + b"\n\n"


@given(before=pieces, text=texts)
def test_offsets_of_log_probabilities_count_what_was_spliced(before: list[str], text: str) -> None:
    """Text that went out the short way is counted all the same."""
    encoder = decoded(decode_completion, prompt="hi", logprobs=0)
    for piece in before:
        encoder.feed(TextDelta(0, piece))
    (chunk,) = data_of(encoder.feed(TextDelta(0, text, SCORE)))
    assert chunk["choices"][0]["logprobs"]["text_offset"] == [len("".join(before))]  # type: ignore[index]


@given(parts=st.lists(st.tuples(st.sampled_from([TextDelta, ReasoningDelta]), texts), min_size=1, max_size=8))
def test_messages(parts: list[tuple[type[TextDelta | ReasoningDelta], str]]) -> None:
    """Each delta is the whole object with the index of the block that is open, thoughts and words mixed."""
    encoder = decoded(decode_messages, messages=TURN, max_tokens=9)
    encoder.feed(Accepted(3))
    index, open_kind = -1, None
    for kind, text in parts:
        if kind is not open_kind:
            index, open_kind = index + 1, kind
        delta = (
            {"type": "text_delta", "text": text}
            if kind is TextDelta
            else {"type": "thinking_delta", "thinking": text}
        )
        told = whole({"type": "content_block_delta", "index": index, "delta": delta})
        frames = encoder.feed(kind(0, text))
        assert frames.endswith(b"event: content_block_delta\ndata: " + told + b"\n\n")


@given(
    parts=st.lists(
        st.tuples(st.sampled_from([TextDelta, ReasoningDelta]), texts, st.booleans()), min_size=1, max_size=8
    )
)
def test_responses(parts: list[tuple[type[TextDelta | ReasoningDelta], str, bool]]) -> None:
    """Numbers rise by one without a gap, deltas are whole objects, and the end has every word."""
    encoder = decoded(decode_response, input="hi", store=False)
    frames = [encoder.feed(Accepted(3))]
    for kind, text, scored in parts:
        event: Event = TextDelta(0, text, SCORE) if scored and kind is TextDelta else kind(0, text)
        frames.append(encoder.feed(event))
        last = data_of(frames[-1])[-1]
        name = "output_text" if kind is TextDelta else "reasoning_text"
        told = {
            "type": f"response.{name}.delta",
            "sequence_number": last["sequence_number"],
            "item_id": last["item_id"],
            "output_index": last["output_index"],
            "content_index": 0,
            "delta": text,
        }
        if kind is TextDelta:
            told["logprobs"] = last["logprobs"]
        written = b"event: response.%b.delta\ndata: %b\n\n" % (name.encode(), whole(told))
        assert frames[-1].endswith(written)
    told_all = data_of(*frames)
    assert [event["sequence_number"] for event in told_all] == list(range(len(told_all)))
    done = [event["text"] for event in data_of(*frames) if event["type"] == "response.output_text.done"]
    runs = "".join(text if kind is TextDelta else "\0split" for kind, text, _ in parts).split("\0split")
    assert done == [run for run in runs if run][: len(done)]
