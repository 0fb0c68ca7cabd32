"""The whole surface: every path, the handler behind it, and what the OpenAPI document says of it."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

from starlette.responses import Response

from allod.api.anthropic import AnthropicRoutes
from allod.api.batches import BatchRoutes
from allod.api.embeddings import EmbeddingRoutes
from allod.api.files import FileRoutes
from allod.api.models import ModelRoutes
from allod.api.openai import OpenAIRoutes
from allod.api.openapi import described, parameter
from allod.api.responses import ResponsesRoutes
from allod.api.status import StatusRoutes
from allod.api.tokens import TokenRoutes
from allod.wire.files import UPLOAD_FORM

Handler = Callable[..., Awaitable[Response]]

_MODEL = "smollm2-135m"
_ANTHROPIC = ("AnthropicError",)
_EITHER = ("Error", "AnthropicError")
_SPEAKS = parameter(
    "anthropic-version", "Any value: the answer is in Anthropic's form, errors too.", header=True
)
_TURN = {"role": "user", "content": "What is the capital of France?"}


@dataclass(frozen=True, slots=True)
class Door:
    """One way in.

    Attributes:
        method: of HTTP.
        path: as FastAPI writes it.
        handler: what answers.
        extra: what the document says of it.
    """

    method: str
    path: str
    handler: Handler
    extra: Mapping[str, object] = field(default_factory=dict[str, object])


def _page(most: int) -> tuple[Mapping[str, object], ...]:
    """What tells the part of a list that is wanted."""
    return (
        parameter("limit", "At most so many.", type="integer", minimum=1, maximum=most),
        parameter("order", "The oldest or the newest first.", enum=["asc", "desc"]),
        parameter("after", "The id of the one before the first one wanted."),
    )


def openai_doors(routes: OpenAIRoutes) -> Iterator[Door]:
    """Chat and completions; under `/api/v0` too, where tools made for LM Studio look for them."""
    chat = described(
        body="ChatCompletionRequest",
        answer="ChatCompletion",
        streams="ChatCompletionChunk",
        example={"model": _MODEL, "messages": [_TURN]},
    )
    completion = described(
        body="CompletionRequest",
        answer="Completion",
        streams="Completion",
        example={"model": _MODEL, "prompt": "Once upon a time", "max_tokens": 32},
    )
    for prefix in ("/v1", "/api/v0"):
        yield Door("POST", f"{prefix}/chat/completions", routes.chat_completions, chat)
        yield Door("POST", f"{prefix}/completions", routes.completions, completion)


def model_doors(routes: ModelRoutes) -> Iterator[Door]:
    """What there is, as OpenAI and as LM Studio list it."""
    page = (
        _SPEAKS,
        parameter("limit", "In Anthropic's form: at most so many.", type="integer", minimum=1, maximum=1000),
        parameter("after_id", "In Anthropic's form: the model before the first one wanted."),
        parameter("before_id", "In Anthropic's form: the model after the last one wanted."),
    )
    listed = described(answer=("ModelList", "AnthropicModelList"), parameters=page, errors=_EITHER)
    shown = described(answer=("Model", "AnthropicModel"), parameters=(_SPEAKS,), errors=_EITHER)
    yield Door("GET", "/v1/models", routes.list_models, listed)
    yield Door("GET", "/v1/models/{model:path}", routes.get_model, shown)
    yield Door("GET", "/api/v0/models", routes.list_entries, described(answer="LMStudioModelList"))
    yield Door("GET", "/api/v0/models/{model:path}", routes.get_entry, described(answer="LMStudioModel"))


def token_doors(routes: TokenRoutes) -> Iterator[Door]:
    """Text to tokens and back."""
    tokenize = described(
        body="TokenizeRequest", answer="Tokenized", example={"model": _MODEL, "prompt": "Hello, world"}
    )
    detokenize = described(
        body="DetokenizeRequest", answer="Detokenized", example={"model": _MODEL, "tokens": [19556, 28]}
    )
    for prefix in ("", "/v1"):
        yield Door("POST", f"{prefix}/tokenize", routes.tokenize, tokenize)
        yield Door("POST", f"{prefix}/detokenize", routes.detokenize, detokenize)


def response_doors(routes: ResponsesRoutes) -> Iterator[Door]:
    """Responses, and what is kept of them; the WebSocket is beside them, on the first of these paths."""
    base, one = "/v1/responses", "/v1/responses/{response_id}"
    asked, shown = "ResponsesResponseRequest", described(answer="ResponseObject")
    again = parameter("stream", "false: a stored response is not streamed again.", enum=["false"])
    example = {"model": _MODEL, "input": "What is the capital of France?"}
    created = described(body=asked, answer="ResponseObject", streams="ResponseStreamEvent", example=example)
    compacted = described(body="ResponsesCompactRequest", answer="ResponseCompaction", example=example)
    counted = described(body=asked, answer="ResponseInputTokens", example=example)
    yield Door("POST", base, routes.create, created)
    yield Door("POST", f"{base}/compact", routes.compact, compacted)
    yield Door("POST", f"{base}/input_tokens", routes.input_tokens, counted)
    yield Door("GET", one, routes.get, described(answer="ResponseObject", parameters=(again,)))
    yield Door("DELETE", one, routes.delete, described(answer="ResponseDeleted"))
    yield Door("POST", f"{one}/cancel", routes.cancel, shown)
    items = described(answer="ResponseItemList", parameters=_page(100))
    yield Door("GET", f"{one}/input_items", routes.input_items, items)


def anthropic_doors(routes: AnthropicRoutes) -> Iterator[Door]:
    """Messages, and their tokens counted without an answer."""
    example = {"model": _MODEL, "max_tokens": 64, "messages": [_TURN]}
    messages = described(
        body="AnthropicMessagesRequest",
        answer="AnthropicMessage",
        streams="AnthropicStreamEvent",
        example=example,
        errors=_ANTHROPIC,
    )
    counted = {"model": _MODEL, "messages": [_TURN]}
    count = described(
        body="AnthropicCountTokensRequest", answer="AnthropicTokenCount", example=counted, errors=_ANTHROPIC
    )
    yield Door("POST", "/v1/messages", routes.messages, messages)
    yield Door("POST", "/v1/messages/count_tokens", routes.count_tokens, count)


def embedding_doors(routes: EmbeddingRoutes) -> Iterator[Door]:
    """Vectors of texts, and texts by their nearness."""
    embed = described(
        body="EmbeddingsRequest",
        answer="EmbeddingList",
        example={"model": "all-minilm-l6-v2", "input": ["one text", "another"]},
    )
    rank = described(
        body="RerankRequest",
        answer="Reranked",
        example={"model": "all-minilm-l6-v2", "query": "fruit", "documents": ["an apple", "a car"]},
    )
    yield Door("POST", "/v1/embeddings", routes.embeddings, embed)
    for prefix in ("", "/v1"):
        yield Door("POST", f"{prefix}/rerank", routes.rerank, rank)


def file_doors(routes: FileRoutes) -> Iterator[Door]:
    """Files that are kept, such as those of batches."""
    upload = described(answer="File")
    upload["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": UPLOAD_FORM}}}
    purpose = parameter("purpose", "Those of this purpose only.")
    listed = described(answer="FileList", parameters=(*_page(10_000), purpose))
    yield Door("POST", "/v1/files", routes.create, upload)
    yield Door("GET", "/v1/files", routes.list_files, listed)
    yield Door("GET", "/v1/files/{file_id}", routes.get, described(answer="File"))
    yield Door("DELETE", "/v1/files/{file_id}", routes.delete, described(answer="FileDeleted"))
    yield Door("GET", "/v1/files/{file_id}/content", routes.content, described(answer=None))


def batch_doors(routes: BatchRoutes) -> Iterator[Door]:
    """Many requests at low priority."""
    asked = {"input_file_id": "file-abc", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    create = described(body="BatchCreateRequest", answer="Batch", example=asked)
    yield Door("POST", "/v1/batches", routes.create, create)
    listed = described(answer="BatchList", parameters=_page(100))
    yield Door("GET", "/v1/batches", routes.list_batches, listed)
    yield Door("GET", "/v1/batches/{batch_id}", routes.get, described(answer="Batch"))
    yield Door("POST", "/v1/batches/{batch_id}/cancel", routes.cancel, described(answer="Batch"))


def status_doors(routes: StatusRoutes) -> Iterator[Door]:
    """Whether it lives."""
    yield Door("GET", "/", routes.root, described(answer="RootBody"))
    yield Door("GET", "/health", routes.health, described(answer="HealthBody"))
    yield Door("GET", "/ready", routes.ready, described(answer="ReadyBody", errors=("ReadyBody", "Error")))
