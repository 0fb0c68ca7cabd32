"""Hold what the server says to the JSON Schemas of its own document, and to the types of the SDKs."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator

from allod.wire.anthropic import answers as anthropic
from allod.wire.openai.answers import SCHEMAS
from allod.wire.responses import answers as responses

ANSWERS: Mapping[str, object] = {**SCHEMAS, **responses.ANSWERS, **anthropic.ANSWERS}


@cache
def validator(name: str) -> Validator:
    """What checks values against the answer of this name."""
    document = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": ANSWERS}}
    return Draft202012Validator(document, format_checker=Draft202012Validator.FORMAT_CHECKER)


def check(name: str, value: Any) -> None:
    """Raise an AssertionError that says where the value is not as described."""
    faults = [f"{fault.json_path}: {fault.message[:200]}" for fault in validator(name).iter_errors(value)]
    assert not faults, f"{name}: {faults}\n{value}"
