"""What this server answers in the Anthropic dialect, as JSON Schemas transcribed from its published types.

Narrowed to what we send, and closed: a field that is sent and not described is a fault that tests find.
"""

from allod.wire.json_schema import (
    BOOLEAN,
    COUNT,
    NOTHING,
    STRING,
    STRING_OR_NULL,
    JsonSchema,
    either,
    exactly,
    listed,
    or_null,
    record,
    refer,
)

_DATE: JsonSchema = {"type": "string", "format": "date-time"}
_TEXT = record({"type": exactly("text"), "text": STRING})
_THINKING = record({"type": exactly("thinking"), "thinking": STRING, "signature": STRING})
_CALL_ID: JsonSchema = {"type": "string", "pattern": "^[a-zA-Z0-9_-]+$"}
_TOOL_USE = record({"type": exactly("tool_use"), "id": _CALL_ID, "name": STRING, "input": {"type": "object"}})
_BLOCK = either(_TEXT, _THINKING, _TOOL_USE)
_OPENED = either(
    record({"type": exactly("text"), "text": exactly("")}),
    record({"type": exactly("thinking"), "thinking": exactly(""), "signature": exactly("")}),
    record(
        {
            "type": exactly("tool_use"),
            "id": _CALL_ID,
            "name": STRING,
            "input": {"type": "object", "maxProperties": 0},
        }
    ),
)
_DELTA = either(
    record({"type": exactly("text_delta"), "text": STRING}),
    record({"type": exactly("thinking_delta"), "thinking": STRING}),
    record({"type": exactly("signature_delta"), "signature": STRING}),
    record({"type": exactly("input_json_delta"), "partial_json": STRING}),
)
_STOP = exactly("end_turn", "max_tokens", "stop_sequence", "tool_use")
_HEAD: dict[str, JsonSchema] = {
    "id": {"type": "string", "pattern": "^msg_"},
    "type": exactly("message"),
    "role": exactly("assistant"),
    "model": STRING,
}
_ENDING = {"stop_reason": _STOP, "stop_sequence": STRING_OR_NULL}
_USAGE = {"usage": refer("AnthropicUsage")}
_BEGUN: dict[str, JsonSchema] = {
    "content": {"type": "array", "maxItems": 0},
    "stop_reason": NOTHING,
    "stop_sequence": NOTHING,
}

ANSWERS: dict[str, JsonSchema] = {
    "AnthropicMessage": record({**_HEAD, "content": listed(_BLOCK), **_ENDING, **_USAGE}),
    "AnthropicUsage": record(
        {
            "input_tokens": COUNT,
            "cache_creation_input_tokens": COUNT,
            "cache_read_input_tokens": COUNT,
            "output_tokens": COUNT,
            "output_tokens_details": record({"thinking_tokens": COUNT}),
        }
    ),
    "AnthropicStreamEvent": either(
        record({"type": exactly("message_start"), "message": record({**_HEAD, **_BEGUN, **_USAGE})}),
        record({"type": exactly("content_block_start"), "index": COUNT, "content_block": _OPENED}),
        record({"type": exactly("content_block_delta"), "index": COUNT, "delta": _DELTA}),
        record({"type": exactly("content_block_stop"), "index": COUNT}),
        record({"type": exactly("message_delta"), "delta": record(_ENDING), **_USAGE}),
        record({"type": exactly("message_stop")}),
        record({"type": exactly("ping")}),
        refer("AnthropicError"),
    ),
    "AnthropicTokenCount": record({"input_tokens": COUNT}),
    "AnthropicError": record(
        {
            "type": exactly("error"),
            "error": record(
                {
                    "type": exactly(
                        "invalid_request_error",
                        "authentication_error",
                        "permission_error",
                        "not_found_error",
                        "request_too_large",
                        "rate_limit_error",
                        "api_error",
                        "overloaded_error",
                    ),
                    "message": STRING,
                }
            ),
            "request_id": STRING,
        }
    ),
    "AnthropicModel": record(
        {
            "type": exactly("model"),
            "id": STRING,
            "display_name": STRING,
            "created_at": _DATE,
            "lifecycle": exactly("active"),
            "max_input_tokens": COUNT,
            "max_tokens": COUNT,
        }
    ),
    "AnthropicModelList": record(
        {
            "data": listed(refer("AnthropicModel")),
            "has_more": BOOLEAN,
            "first_id": or_null(STRING),
            "last_id": or_null(STRING),
        }
    ),
}
