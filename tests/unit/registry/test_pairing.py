"""Which models may draft for which."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, Unigram

from allod.core.errors import ConfigurationError, ModelNotFound
from allod.registry.catalog import Catalog
from allod.registry.pairing import forget_draft, pair, unpair
from allod.testing.models import tiny_card

WORDS = ("a", "b", "c", "d")


def add(
    catalog: Catalog,
    name: str,
    words: tuple[str, ...] = WORDS,
    special: tuple[str, ...] = (),
    **changes: object,
) -> None:
    """Put a model into the catalogue whose tokens are these."""
    with catalog.staging() as folder:
        tokenizer = Tokenizer(BPE(vocab={word: place for place, word in enumerate(words)}, merges=[]))
        tokenizer.add_special_tokens(list(special))
        tokenizer.save(str(folder / "tokenizer.json"))
        catalog.adopt(folder, tiny_card(name, **{"weights_bytes": 1000, **changes}))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """With a large model."""
    catalog = Catalog(tmp_path / "models")
    add(catalog, "large")
    return catalog


def test_a_pairing_is_kept_in_the_card_and_can_be_ended(catalog: Catalog) -> None:
    """The draft model's own card stays as it is."""
    add(catalog, "small", weights_bytes=100)
    paired = pair(catalog, "large", "small")
    assert paired.warning == ""
    assert catalog.card("large").draft == paired.card.draft == "small"
    assert catalog.card("small").draft is None
    assert catalog.draft_folder(catalog.card("large")) == catalog.root / "small"
    assert unpair(catalog, "large").draft is None
    assert catalog.card("large").draft is None
    assert catalog.draft_folder(catalog.card("large")) is None


@pytest.mark.parametrize(
    ("words", "special", "told"),
    [
        (("a", "b", "x", "d"), (), "4 tokens and 4, and token 2 is 'x' in one and 'c' in the other"),
        (WORDS, tuple(f"<{place}>" for place in range(129)), "133 tokens and 4, of which only one has 129"),
        (("b", "a", "c", "d", "e"), (), "5 tokens and 4, and token 0 is 'b' in one and 'a' in the other"),
    ],
)
def test_another_vocabulary_is_refused(
    catalog: Catalog, words: tuple[str, ...], special: tuple[str, ...], told: str
) -> None:
    """With both sizes, where they differ, and the way out; nothing changes."""
    add(catalog, "other", words, special, weights_bytes=100)
    with pytest.raises(ConfigurationError) as refused:
        pair(catalog, "large", "other")
    assert "other has another vocabulary than large: " + told in refused.value.message
    assert "take a smaller model of the same family" in refused.value.message
    assert catalog.card("large").draft is None


def test_a_few_tokens_that_only_one_has_do_not_matter(catalog: Catalog) -> None:
    """A model that sees has marks for pictures, one that calls tools marks for these; or rows of padding."""
    add(catalog, "sees", WORDS, ("<picture>", "<end>"), vision=True, vocabulary=200)
    add(catalog, "small", weights_bytes=100, vocabulary=64)
    assert pair(catalog, "sees", "small").card.draft == "small"
    assert pair(catalog, "large", "sees").card.draft == "sees"


def test_one_that_is_hardly_smaller_is_doubted(catalog: Catalog) -> None:
    """It is paired all the same: what counts is measured."""
    add(catalog, "half", weights_bytes=501)
    assert "half has 50% of the weights of large" in pair(catalog, "large", "half").warning
    assert "large has 100%" in pair(catalog, "large", "large").warning


@pytest.mark.parametrize(("name", "draft"), [("large", "nobody"), ("nobody", "large")])
def test_unknown_models_are_named(catalog: Catalog, name: str, draft: str) -> None:
    """A name is a key: no alias, no path."""
    with pytest.raises(ModelNotFound, match="there is no model 'nobody' here; known: large"):
        pair(catalog, name, draft)
    with pytest.raises(ModelNotFound):
        pair(catalog, "large", "../large")


@pytest.mark.parametrize(("name", "draft"), [("large", "embeds"), ("embeds", "large")])
def test_models_that_embed_are_refused(catalog: Catalog, name: str, draft: str) -> None:
    """On either side."""
    add(catalog, "embeds", purpose="embedding")
    with pytest.raises(ConfigurationError, match="embeds embeds text and generates none"):
        pair(catalog, name, draft)


def test_unigram_vocabularies_are_told_apart(catalog: Catalog) -> None:
    """They are lists of pieces with scores."""
    for name, last in (("one", "c"), ("same", "c"), ("different", "x")):
        pieces = [("<unk>", 0.0), ("a", -1.0), ("b", -2.0), (last, -3.0)]
        add(catalog, name)
        Tokenizer(Unigram(pieces, 0)).save(str(catalog.root / name / "tokenizer.json"))
    assert pair(catalog, "one", "same").card.draft == "same"
    with pytest.raises(ConfigurationError, match="token 3"):
        pair(catalog, "one", "different")


def test_a_draft_model_that_leaves_is_forgotten(catalog: Catalog) -> None:
    """By all that it drafted for."""
    add(catalog, "small", weights_bytes=100)
    add(catalog, "other")
    pair(catalog, "large", "small")
    assert forget_draft(catalog, "other") == ()
    assert forget_draft(catalog, "small") == ("large",)
    assert catalog.card("large").draft is None


def test_a_card_of_before_has_no_draft_model(catalog: Catalog) -> None:
    """Catalogues that are there stay readable."""
    path = catalog.root / "large" / "card.json"
    old = json.loads(path.read_text())
    del old["draft"]
    path.write_text(json.dumps(old))
    assert catalog.card("large").draft is None
