"""Paths have one spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.api.paths import normalise


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/", "/"),
        ("", "/"),
        ("/v1/models", "/v1/models"),
        ("/v1/models/", "/v1/models"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/v1", "/v1"),
        ("//v1//models//", "/v1/models"),
        ("/v1/models/v1/v1", "/v1/models/v1/v1"),
        ("/v11/v1", "/v11/v1"),
        ("/v1/v1x", "/v1/v1x"),
    ],
)
def test_spellings(path: str, normal: str) -> None:
    """Doubled prefixes and slashes fold; nothing else changes."""
    assert normalise(path) == normal


@given(st.text("/v1am"))
def test_a_normal_path_stays(path: str) -> None:
    """Normalising twice is normalising once, so guard and router cannot disagree."""
    assert normalise(normalise(path)) == normalise(path)
