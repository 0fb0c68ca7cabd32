"""The catalogue as Anthropic's list of models, page by page."""

import json
from typing import Any

import pytest
from anthropic.types import ModelInfo

from allod.core.errors import InvalidRequest
from allod.testing.models import tiny_card
from allod.wire.anthropic.models import Page, decode_page, model_body, model_list

MODELS = [(tiny_card(name), None) for name in "abc"]


def listed(page: Page) -> dict[str, Any]:
    return json.loads(model_list(MODELS, [("claude-x", MODELS[1])], page))


def test_models_are_what_the_sdk_declares() -> None:
    """Strictly valid, aliases too."""
    body = listed(Page())
    for model in body["data"]:
        ModelInfo.model_validate_json(json.dumps(model), strict=True)
    assert [model["id"] for model in body["data"]] == ["a", "b", "c", "claude-x"]
    assert (body["has_more"], body["first_id"], body["last_id"]) == (False, "a", "claude-x")


@pytest.mark.parametrize(
    ("page", "ids", "has_more"),
    [
        (Page(2), ["a", "b"], True),
        (Page(2, after="b"), ["c", "claude-x"], False),
        (Page(1, after="b"), ["c"], True),
        (Page(2, before="c"), ["a", "b"], False),
        (Page(1, before="c"), ["b"], True),
        (Page(after="claude-x"), [], False),
    ],
)
def test_pages(page: Page, ids: list[str], has_more: bool) -> None:
    """A page holds what lies next to the model named; has_more tells of what lies beyond."""
    body = listed(page)
    assert [model["id"] for model in body["data"]] == ids
    assert body["has_more"] == has_more


def test_the_query_of_a_page() -> None:
    """Defaults are Anthropic's."""
    assert decode_page({}) == Page(20)
    assert decode_page({"limit": "1000", "after_id": "a"}) == Page(1000, after="a")


@pytest.mark.parametrize(
    "query",
    [{"limit": "0"}, {"limit": "1001"}, {"limit": "a"}, {"limit": "²"}, {"after_id": "a", "before_id": "b"}],
)
def test_a_wrong_query_is_refused(query: dict[str, str]) -> None:
    """With the parameter's name."""
    with pytest.raises(InvalidRequest):
        decode_page(query)


def test_a_page_that_starts_nowhere_is_refused() -> None:
    """So that no client pages for ever."""
    with pytest.raises(InvalidRequest, match="after_id"):
        listed(Page(after="none"))


def test_one_model() -> None:
    """Under its own name, or an alias of it."""
    assert model_body(*MODELS[0])["id"] == "a"
    assert model_body(*MODELS[0], "claude-x")["display_name"] == "claude-x"
