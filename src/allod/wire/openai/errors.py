"""Errors as OpenAI writes them."""

import msgspec

from allod.core.errors import AllodError


def error_body(error: AllodError) -> bytes:
    """The JSON body of an error answer; also the data of an error event in a stream."""
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message,
                "type": error.kind,
                "param": error.param,
                "code": error.code,
            }
        }
    )
