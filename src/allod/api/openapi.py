"""What /openapi.json says of the routes, beyond what FastAPI can see: it never reads their bodies."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI

_JSON = "application/json"
_STREAM = "text/event-stream"
_OPENAI_ERROR = ("Error",)
ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {"description": "Whatever went wrong, always in this form."}
}
"""What every route answers; each route adds the form. Without it FastAPI would promise its own errors."""

_PATH_PARAMETERS = {
    "model": "The name of a model, as GET /v1/models lists it.",
    "response_id": "The id of a stored response.",
    "file_id": "The id of a file.",
    "batch_id": "The id of a batch.",
}
"""What stands in a path, by its name there."""

_BYTES: dict[str, object] = {"application/octet-stream": {}}
_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def described(
    *,
    answer: str | tuple[str, ...] | None,
    body: str | None = None,
    example: Mapping[str, object] | None = None,
    streams: str | None = None,
    parameters: Sequence[Mapping[str, object]] = (),
    errors: tuple[str, ...] = _OPENAI_ERROR,
) -> dict[str, object]:
    """The extra of a route.

    Args:
        answer: name of the schema of its answer, or of each of several; None for bytes.
        body: name of the schema of its body; None for a route without one.
        example: a body that works.
        streams: name of the schema of each event's data when `stream` is true; None for a route that
            does not stream.
        parameters: what stands in the query and the headers.
        errors: names of the schemas of its errors.
    """
    content: dict[str, object] = {_JSON: {"schema": _reference(answer)}} if answer else _BYTES
    if streams is not None:
        content[_STREAM] = {"schema": _server_sent(streams)}
    wrong = {"content": {_JSON: {"schema": _reference(errors)}}}
    extra: dict[str, object] = {
        "responses": {"200": {"description": "The answer.", "content": content}, "default": wrong},
    }
    if parameters:
        extra["parameters"] = list(parameters)
    if body is not None:
        media: dict[str, object] = {"schema": _reference(body)}
        if example is not None:
            media["example"] = example
        extra["requestBody"] = {"required": True, "content": {_JSON: media}}
    return extra


def parameter(name: str, description: str, *, header: bool = False, **schema: object) -> dict[str, object]:
    """A parameter that may be left out: in the query, or a header."""
    place = "header" if header else "query"
    return {"name": name, "in": place, "description": description, "schema": schema or {"type": "string"}}


def _server_sent(name: str) -> dict[str, object]:
    """One event of a stream: what follows its `event:` and its `data:`."""
    told = {"type": "string", "contentMediaType": _JSON, "contentSchema": _reference(name)}
    return {
        "type": "object",
        "description": "Each event of the stream, until it ends or says [DONE].",
        "required": ["data"],
        "properties": {"event": {"type": "string"}, "data": {"anyOf": [told, {"const": "[DONE]"}]}},
    }


def _reference(names: str | tuple[str, ...]) -> dict[str, object]:
    if isinstance(names, str):
        return {"$ref": f"#/components/schemas/{names}"}
    return _reference(names[0]) if len(names) == 1 else {"anyOf": [_reference(name) for name in names]}


class DescribedApp(FastAPI):
    """A FastAPI application whose document also holds the schemas that the wire room declares.

    Attributes:
        described_schemas: by name; the dialects add theirs while the application is put together.
    """

    described_schemas: dict[str, object]

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        fresh = self.openapi_schema is None
        document = super().openapi()
        if fresh:
            parts = document.setdefault("components", {})
            parts["schemas"] = dict(self.described_schemas)
            parts["securitySchemes"] = _SECURITY_SCHEMES
            document["security"] = [{}, *({name: []} for name in _SECURITY_SCHEMES)]
            _describe_paths(document["paths"])
        return document


def _describe_paths(paths: Mapping[str, Mapping[str, Any]]) -> None:
    for operation in (operation for methods in paths.values() for operation in methods.values()):
        for one in operation.get("parameters", ()):
            if one["in"] == "path":
                one["description"] = _PATH_PARAMETERS[one["name"]]
