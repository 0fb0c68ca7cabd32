"""What this server answers in the OpenAI dialect, as JSON Schemas: the published shapes as we fill them.

Transcribed from OpenAI's OpenAPI document. `additionalProperties` is false throughout, so that a field we
send and do not describe is a fault that tests find.
"""

from allod.wire.json_schema import (
    COUNT,
    INTEGER,
    NOTHING,
    NUMBER,
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

_FINISH = exactly("stop", "length", "tool_calls")
_TOP = {"token": STRING, "logprob": NUMBER, "bytes": or_null(listed(INTEGER))}
_CALLED = record({"name": STRING, "arguments": STRING})
_CHUNK_HEAD = {"id": STRING, "created": INTEGER, "model": STRING}

SCHEMAS: dict[str, JsonSchema] = {
    "Error": record(
        {
            "error": record(
                {"message": STRING, "type": STRING, "param": STRING_OR_NULL, "code": STRING_OR_NULL}
            )
        }
    ),
    "CompletionUsage": record(
        {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT},
        {
            "prompt_tokens_details": record({"cached_tokens": COUNT}),
            "completion_tokens_details": record({"reasoning_tokens": COUNT}),
        },
    ),
    "ChatLogprobs": record(
        {
            "content": or_null(listed(record({**_TOP, "top_logprobs": listed(record(_TOP))}))),
            "refusal": NOTHING,
        }
    ),
    "ToolCall": record({"id": STRING, "type": exactly("function"), "function": _CALLED}),
    "ChatAnswer": record(
        {"role": exactly("assistant"), "content": STRING_OR_NULL, "refusal": NOTHING},
        {"tool_calls": {**listed(refer("ToolCall")), "minItems": 1}, "reasoning_content": STRING},
    ),
    "ChatCompletion": record(
        {
            **_CHUNK_HEAD,
            "object": exactly("chat.completion"),
            "choices": listed(
                record(
                    {
                        "index": COUNT,
                        "message": refer("ChatAnswer"),
                        "logprobs": or_null(refer("ChatLogprobs")),
                        "finish_reason": _FINISH,
                    }
                )
            ),
            "usage": refer("CompletionUsage"),
        }
    ),
    "ChatCompletionChunk": record(
        {
            **_CHUNK_HEAD,
            "object": exactly("chat.completion.chunk"),
            "choices": listed(
                record(
                    {
                        "index": COUNT,
                        "delta": refer("ChatDelta"),
                        "logprobs": or_null(refer("ChatLogprobs")),
                        "finish_reason": or_null(_FINISH),
                    }
                )
            ),
        },
        {"usage": or_null(refer("CompletionUsage"))},
    ),
    "ChatDelta": record(
        {},
        {
            "role": exactly("assistant"),
            "content": STRING,
            "reasoning_content": STRING,
            "tool_calls": listed(
                record(
                    {"index": COUNT, "function": record({"arguments": STRING}, {"name": STRING})},
                    {"id": STRING, "type": exactly("function")},
                )
            ),
        },
    ),
    "CompletionLogprobs": record(
        {
            "tokens": listed(STRING),
            "token_logprobs": listed(NUMBER),
            "top_logprobs": listed({"type": "object", "additionalProperties": NUMBER}),
            "text_offset": listed(COUNT),
        }
    ),
    "Completion": record(
        {
            **_CHUNK_HEAD,
            "object": exactly("text_completion"),
            "choices": listed(
                record(
                    {
                        "index": COUNT,
                        "text": STRING,
                        "logprobs": or_null(refer("CompletionLogprobs")),
                        "finish_reason": or_null(exactly("stop", "length")),
                    }
                )
            ),
        },
        {"usage": or_null(refer("CompletionUsage"))},
    ),
    "Model": record(
        {
            "id": STRING,
            "object": exactly("model"),
            "created": INTEGER,
            "owned_by": STRING,
            "type": exactly("llm", "embeddings"),
            "context_length": COUNT,
            "max_context_length": COUNT,
            "max_output_tokens": or_null(COUNT),
            "state": exactly("not-loaded", "loading", "loaded", "failed"),
            "capabilities": listed(STRING),
            "pricing": record({"prompt": STRING, "completion": STRING}),
            "architecture": STRING,
            "quantization": STRING,
            "weights_bytes": COUNT,
            "sampling_defaults": {"type": "object"},
            "batching": or_null(exactly("batched", "alone")),
            "alone_because": STRING_OR_NULL,
            "blind_because": STRING_OR_NULL,
            "draft_model": STRING_OR_NULL,
            "unpaired_because": STRING_OR_NULL,
        },
        {"alias_of": STRING},
    ),
    "ModelList": record({"object": exactly("list"), "data": listed(refer("Model"))}),
    "LMStudioModel": record(
        {
            "id": STRING,
            "object": exactly("model"),
            "type": exactly("llm", "vlm", "embeddings"),
            "publisher": STRING,
            "arch": STRING,
            "compatibility_type": exactly("mlx", "gguf"),
            "quantization": STRING,
            "state": exactly("loaded", "not-loaded"),
            "max_context_length": COUNT,
        },
        {"capabilities": listed(STRING), "loaded_context_length": COUNT},
    ),
    "LMStudioModelList": record({"object": exactly("list"), "data": listed(refer("LMStudioModel"))}),
    "EmbeddingList": record(
        {
            "object": exactly("list"),
            "data": listed(
                record(
                    {
                        "object": exactly("embedding"),
                        "index": COUNT,
                        "embedding": either(listed(NUMBER), STRING),
                    }
                )
            ),
            "model": STRING,
            "usage": record({"prompt_tokens": COUNT, "total_tokens": COUNT}),
        }
    ),
    "Reranked": {
        "type": "object",
        "required": ["id", "model", "results", "usage"],
        "properties": {
            "id": STRING,
            "model": STRING,
            "results": listed(
                record({"index": COUNT, "relevance_score": NUMBER}, {"document": record({"text": STRING})})
            ),
            "usage": {"type": "object"},
            "meta": {"type": "object"},
        },
    },
    "Tokenized": record({"count": COUNT, "max_model_len": COUNT, "tokens": listed(COUNT)}),
    "Detokenized": record({"prompt": STRING, "content": STRING}),
}
