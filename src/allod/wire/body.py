"""A request body to a JSON object."""

import json
from typing import NoReturn, cast

from allod.core.errors import InvalidRequest


def parse_object(body: bytes) -> dict[str, object]:
    """The object that a body holds. Of repeated keys the last one counts.

    Raises:
        InvalidRequest: it is not UTF-8, not JSON, not an object, or nested too deeply.
    """
    try:
        value: object = json.loads(body.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"the body is not UTF-8: byte {error.start} ({body[error.start]:#04x}) cannot stand there"
        ) from error
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"the body is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from error
    except RecursionError as error:
        raise InvalidRequest("the body is nested too deeply; send fewer levels of [ and {") from error
    except ValueError as error:  # an integer of thousands of digits
        raise InvalidRequest("the body holds a number with too many digits") from error
    if not isinstance(value, dict):
        raise InvalidRequest("the body is not a JSON object; send {...}")
    return cast("dict[str, object]", value)


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidRequest(f"the body is not JSON: {name} is not a JSON number")
