"""Bodies of /tokenize and /detokenize."""

import json

import pytest

from allod.core.errors import InvalidRequest
from allod.core.ids import ModelName, RequestId, TenantId
from allod.core.request import Conversation, RawText
from allod.wire.dialect import Envelope
from allod.wire.tokens import decode_detokenize, decode_tokenize, detokenized_body, tokenized_body

ENVELOPE = Envelope(RequestId("r"), TenantId("t"), lambda: ModelName("m"))
NOBODY = Envelope(RequestId("r"), TenantId("t"), lambda: None)


def source(**body: object) -> object:
    return decode_tokenize(json.dumps(body).encode(), ENVELOPE).source


def test_a_text_by_either_of_its_names() -> None:
    """VLLM says prompt, llama.cpp says content; special tokens are the tokenizer's unless switched off."""
    assert source(prompt="a") == source(content="a") == RawText("a")
    assert source(prompt="", add_special_tokens=False) == RawText("", special=False)


def test_a_conversation_is_the_prompt_of_a_chat() -> None:
    """With its tools, as chat completions would render it."""
    tools = [{"type": "function", "function": {"name": "f"}}]
    talk = source(messages=[{"role": "user", "content": "hi"}], tools=tools)
    assert isinstance(talk, Conversation)
    assert [tool.name for tool in talk.tools] == ["f"]


@pytest.mark.parametrize(
    ("body", "param"), [({}, "prompt"), ({"prompt": 1}, "prompt"), ({"messages": []}, "messages")]
)
def test_what_is_no_text_is_refused(body: dict[str, object], param: str) -> None:
    """On its field."""
    with pytest.raises(InvalidRequest) as caught:
        source(**body)
    assert caught.value.param == param


def test_tokens_are_written_out() -> None:
    """The model is named, or the only one there is."""
    asked = decode_detokenize(b'{"tokens": [1, 2]}', ENVELOPE)
    assert (asked.model, asked.tokens) == ("m", (1, 2))
    with pytest.raises(InvalidRequest, match="is missing"):
        decode_detokenize(b'{"tokens": [1]}', NOBODY)
    with pytest.raises(InvalidRequest) as caught:
        decode_detokenize(b'{"tokens": [1, -1]}', ENVELOPE)
    assert caught.value.param == "tokens[1]"


def test_answers() -> None:
    """Under the names of both servers."""
    assert json.loads(tokenized_body((1, 2), 9)) == {"count": 2, "max_model_len": 9, "tokens": [1, 2]}
    assert json.loads(detokenized_body("a")) == {"prompt": "a", "content": "a"}
