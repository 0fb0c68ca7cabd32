"""Parts that whole and streamed answers share."""

from base64 import b64encode
from hashlib import blake2b

from allod.core.events import ChoiceFinished
from allod.core.usage import Usage
from allod.wire.dialect import Header

_KEY = b"allod thinking 1"
_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def head(header: Header) -> dict[str, object]:
    """The fields of a message before its content."""
    return {
        "id": f"msg_{header.identifier}",
        "type": "message",
        "role": "assistant",
        "model": header.model,
    }


def ending(end: ChoiceFinished | None) -> dict[str, object]:
    """Why the answer ended; null while it has not."""
    if end is None:
        return {"stop_reason": None, "stop_sequence": None}
    if end.reason == "stop" and end.stop is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": end.stop}
    return {"stop_reason": _REASONS[end.reason], "stop_sequence": None}


def usage_shape(usage: Usage) -> dict[str, object]:
    """Token counts. Prompt tokens are those read from the cache plus `input_tokens`, which excludes them."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }


class Signature:
    """What stands under a thinking block: clients send it back with the block, or leave the block out.

    It is a hash under a key that everybody may know, since it vouches for nothing: thinking that comes
    back is read like any other text.
    """

    def __init__(self) -> None:
        self._hash = blake2b(key=_KEY, digest_size=48)

    def feed(self, thinking: str) -> None:
        """Sign this piece too."""
        self._hash.update(thinking.encode())

    def text(self) -> str:
        """The signature of all pieces together."""
        return b64encode(self._hash.digest()).decode()
