"""What /openapi.json says of the routes, beyond what FastAPI can see: it never reads their bodies."""

from typing import Any

from fastapi import FastAPI

from allod.wire.openai.schema import components

_STRING = {"type": "string"}
_STRING_OR_NULL = {"type": ["string", "null"]}
_ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": _STRING,
                "type": _STRING,
                "param": _STRING_OR_NULL,
                "code": _STRING_OR_NULL,
            },
        }
    },
}
ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "Whatever went wrong, always in this form.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
}
_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def generation(schema: str) -> dict[str, object]:
    """The extra of a route that generates, from the name of its body's schema."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
        },
        "responses": {
            "200": {
                "description": "The answer: whole, or as server-sent events when `stream` is true.",
                "content": {
                    "application/json": {"schema": {"type": "object"}},
                    "text/event-stream": {"schema": _STRING},
                },
            },
        },
    }


class DescribedApp(FastAPI):
    """A FastAPI application whose document also holds the schemas that the wire room declares."""

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        fresh = self.openapi_schema is None
        document = super().openapi()
        if fresh:
            parts = document.setdefault("components", {})
            parts["schemas"] = {**components(), "Error": _ERROR_SCHEMA}
            parts["securitySchemes"] = _SECURITY_SCHEMES
            document["security"] = [{}, *({name: []} for name in _SECURITY_SCHEMES)]
        return document
