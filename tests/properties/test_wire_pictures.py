"""Images in bodies keep their places, and base64 means the same however it is written."""

import base64
import json
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.core.errors import InvalidRequest
from allod.core.ids import ModelName, RequestId, TenantId
from allod.core.pictures import marks_in, pieces_of
from allod.core.request import Conversation
from allod.wire.anthropic.request import decode_messages
from allod.wire.data_uri import base64_bytes, parse
from allod.wire.dialect import Decoded, Envelope
from allod.wire.openai.request import decode_chat
from allod.wire.responses.request import decode_response

ENVELOPE = Envelope(RequestId("r"), TenantId("t"), lambda: ModelName("m"))
Part = str | bytes
words = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufffc"), max_size=5)
files = st.binary(min_size=1, max_size=9)


def encoded(file: bytes) -> str:
    return base64.b64encode(file).decode()


def chat(parts: Sequence[Part]) -> Decoded:
    content = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": f"data:;base64,{encoded(part)}"}}
        for part in parts
    ]
    return decode_chat(json.dumps({"messages": [{"role": "user", "content": content}]}).encode(), ENVELOPE)


def responses(parts: Sequence[Part]) -> Decoded:
    content = [
        {"type": "input_text", "text": part}
        if isinstance(part, str)
        else {"type": "input_image", "image_url": f"data:;base64,{encoded(part)}"}
        for part in parts
    ]
    item = {"type": "function_call_output", "call_id": "c", "output": content}
    return decode_response(json.dumps({"input": [item]}).encode(), ENVELOPE)


def anthropic(parts: Sequence[Part]) -> Decoded:
    content = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image", "source": {"type": "base64", "data": encoded(part)}}
        for part in parts
    ]
    body = {"max_tokens": 1, "messages": [{"role": "user", "content": content}]}
    return decode_messages(json.dumps(body).encode(), ENVELOPE)


@pytest.mark.parametrize("decode", [chat, responses, anthropic])
@given(parts=st.lists(words | files, min_size=1, max_size=12))
def test_images_stand_where_they_were_put(
    decode: Callable[[Sequence[Part]], Decoded], parts: list[Part]
) -> None:
    """All dialects make the same text of the same parts: nothing lost, nothing moved."""
    source = decode(parts).requests[0].source
    assert isinstance(source, Conversation)
    content = source.messages[0].content
    shown = [part for part in parts if isinstance(part, bytes)]
    assert [picture.source for picture in source.pictures] == shown
    assert marks_in(content) == tuple(range(len(shown)))
    runs: list[Part] = []
    for before, part in zip([b"", *parts], parts, strict=False):
        if isinstance(part, str) and isinstance(before, str):
            runs[-1] = f"{runs[-1]}\n{part}"
        else:
            runs.append(part)
    expected = [run for run in runs if run != ""]
    pictures = source.pictures
    assert [pictures[one].source if isinstance(one, int) else one for one in pieces_of(content)] == expected


@given(file=files, drop=st.booleans(), ours=st.booleans())
def test_base64_means_the_same_however_it_is_written(file: bytes, drop: bool, ours: bool) -> None:
    """Without padding, in the other alphabet, with spaces anywhere."""
    text = (base64.b64encode if ours else base64.urlsafe_b64encode)(file).decode()
    text = text.rstrip("=") if drop else text
    assert base64_bytes(text, "here") == file
    assert base64_bytes(" ".join(text) + "\n", "here") == file
    assert parse(f"data:image/png;base64,{text}", "here") == file


@given(st.text(max_size=12) | st.text("AB=- \n%!", max_size=8))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but InvalidRequest comes out, also of texts that UTF-8 cannot write."""
    for read in (base64_bytes, parse):
        for prefix in ("", "data:", "data:,", "data:;base64,"):
            try:
                assert read(prefix + text, "here")
            except InvalidRequest as refusal:
                assert refusal.param == "here"  # noqa: PT017 -- some texts are sound


@given(text=st.text("AB=-\n", max_size=24) | st.binary(max_size=18).map(encoded))
def test_base64_in_slices_is_base64_at_once(text: str) -> None:
    """Wherever a long text is cut, it is read or refused as in one piece."""

    def outcome() -> bytes | str:
        try:
            return base64_bytes(text, "f")
        except InvalidRequest as error:
            return error.message

    with pytest.MonkeyPatch.context() as patch:
        whole = outcome()
        patch.setattr("allod.wire.data_uri._SLICE", 4)
        assert outcome() == whole
