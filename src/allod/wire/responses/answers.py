"""JSON schemas of what the Responses dialect answers, for OpenAPI and for tests that hold us to them.

Transcribed from the Open Responses specification (ResponseResource, CompactResource), narrowed to what
this server says; all keys that the specification requires are required here.
"""

from collections.abc import Mapping, Sequence

Schema = dict[str, object]

_STRING: Schema = {"type": "string"}
_INTEGER: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_BOOLEAN: Schema = {"type": "boolean"}
_OBJECT: Schema = {"type": "object"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _closed(fields: Mapping[str, Schema], optional: Sequence[str] = ()) -> Schema:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": dict(fields),
        "required": [name for name in fields if name not in optional],
        "additionalProperties": False,
    }


_STATUS = _one_of("in_progress", "completed", "incomplete")
_TOKEN: dict[str, Schema] = {"token": _STRING, "logprob": _NUMBER, "bytes": _list(_INTEGER)}
_LOGPROBS = _list(_closed({**_TOKEN, "top_logprobs": _list(_closed(_TOKEN))}))
_TEXT_PART = _closed(
    {
        "type": _one_of("output_text"),
        "text": _STRING,
        "annotations": _list(_OBJECT),
        "logprobs": _LOGPROBS,
    }
)
_THOUGHT_PART = _closed({"type": _one_of("reasoning_text"), "text": _STRING})
_MESSAGE = _closed(
    {
        "id": _STRING,
        "type": _one_of("message"),
        "status": _STATUS,
        "role": _one_of("assistant"),
        "content": _list(_TEXT_PART),
    }
)
_REASONING = _closed(
    {
        "id": _STRING,
        "type": _one_of("reasoning"),
        "status": _STATUS,
        "summary": _list(_OBJECT),
        "content": _list(_THOUGHT_PART),
        "encrypted_content": _STRING,
    },
    optional=["encrypted_content"],
)
_CALL = _closed(
    {
        "id": _STRING,
        "type": _one_of("function_call"),
        "status": _STATUS,
        "call_id": _STRING,
        "name": _STRING,
        "arguments": _STRING,
    }
)
_USAGE = _closed(
    {
        "input_tokens": _INTEGER,
        "input_tokens_details": _closed({"cached_tokens": _INTEGER, "cache_write_tokens": _INTEGER}),
        "output_tokens": _INTEGER,
        "output_tokens_details": _closed({"reasoning_tokens": _INTEGER}),
        "total_tokens": _INTEGER,
    }
)
_RESPONSE = _closed(
    {
        "id": _STRING,
        "object": _one_of("response"),
        "created_at": _INTEGER,
        "completed_at": _or_null(_INTEGER),
        "status": _one_of("in_progress", "completed", "incomplete", "failed", "cancelled"),
        "background": _BOOLEAN,
        "error": _or_null(
            _closed(
                {
                    "code": _one_of("server_error", "rate_limit_exceeded", "invalid_prompt"),
                    "message": _STRING,
                }
            )
        ),
        "incomplete_details": _or_null(_closed({"reason": _one_of("max_output_tokens")})),
        "model": _STRING,
        "output": _list(_reference("ResponseOutputItem")),
        "instructions": _or_null(_STRING),
        "previous_response_id": _or_null(_STRING),
        "tools": _list(_OBJECT),
        "tool_choice": {"anyOf": [_one_of("auto", "none", "required"), _OBJECT]},
        "parallel_tool_calls": _BOOLEAN,
        "text": _OBJECT,
        "reasoning": _closed({"effort": _or_null(_STRING), "summary": _or_null(_STRING)}),
        "max_output_tokens": _or_null(_INTEGER),
        "max_tool_calls": _or_null(_INTEGER),
        "temperature": _NUMBER,
        "top_p": _NUMBER,
        "presence_penalty": _NUMBER,
        "frequency_penalty": _NUMBER,
        "top_logprobs": _INTEGER,
        "truncation": _one_of("disabled"),
        "store": _BOOLEAN,
        "service_tier": _STRING,
        "metadata": {"type": "object", "additionalProperties": _STRING},
        "user": _or_null(_STRING),
        "safety_identifier": _or_null(_STRING),
        "prompt_cache_key": _or_null(_STRING),
        "usage": _or_null(_USAGE),
    }
)


def _event(kinds: Sequence[str], **fields: Schema) -> Schema:
    """An event of a stream."""
    return _closed({"type": _one_of(*(f"response.{kind}" for kind in kinds)), **_NUMBERED, **fields})


_NUMBERED: dict[str, Schema] = {"sequence_number": _INTEGER}
_IN_OUTPUT: dict[str, Schema] = {"output_index": _INTEGER}
_IN_ITEM: dict[str, Schema] = {**_IN_OUTPUT, "item_id": _STRING}
_IN_PART: dict[str, Schema] = {**_IN_ITEM, "content_index": _INTEGER}
_EVENTS: Schema = {
    "oneOf": [
        _event(
            ["created", "in_progress", "completed", "incomplete", "failed"],
            response=_reference("ResponseObject"),
        ),
        _event(
            ["output_item.added", "output_item.done"], **_IN_OUTPUT, item=_reference("ResponseOutputItem")
        ),
        _event(
            ["content_part.added", "content_part.done"],
            **_IN_PART,
            part={"oneOf": [_TEXT_PART, _THOUGHT_PART]},
        ),
        _event(["output_text.delta"], **_IN_PART, delta=_STRING, logprobs=_LOGPROBS),
        _event(["output_text.done"], **_IN_PART, text=_STRING, logprobs=_LOGPROBS),
        _event(["reasoning_text.delta"], **_IN_PART, delta=_STRING),
        _event(["reasoning_text.done"], **_IN_PART, text=_STRING),
        _event(["function_call_arguments.delta"], **_IN_ITEM, delta=_STRING),
        _event(["function_call_arguments.done"], **_IN_ITEM, arguments=_STRING),
    ]
}

ANSWERS: Mapping[str, Schema] = {
    "ResponseStreamEvent": _EVENTS,
    "ResponseOutputItem": {"oneOf": [_MESSAGE, _REASONING, _CALL]},
    "ResponseObject": _RESPONSE,
    "ResponseCompaction": _closed(
        {
            "id": _STRING,
            "object": _one_of("response.compaction"),
            "created_at": _INTEGER,
            "output": _list(_OBJECT),
            "usage": _USAGE,
        }
    ),
    "ResponseItemList": _closed(
        {
            "object": _one_of("list"),
            "data": _list(_OBJECT),
            "first_id": _or_null(_STRING),
            "last_id": _or_null(_STRING),
            "has_more": _BOOLEAN,
        }
    ),
    "ResponseDeleted": _closed({"id": _STRING, "object": _one_of("response"), "deleted": _BOOLEAN}),
    "ResponseInputTokens": _closed({"object": _one_of("response.input_tokens"), "input_tokens": _INTEGER}),
}
"""By name, as `components.schemas` of OpenAPI; a name of one refers to another."""
