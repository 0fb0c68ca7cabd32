"""Other names for models."""

from pathlib import Path

import pytest

from allod.core.alias import Alias
from allod.core.errors import ConfigurationError, ImportRefused, ModelNotFound
from allod.core.ids import ModelName
from allod.registry.aliases import AliasFile
from allod.registry.catalog import ALIASES, Catalog
from allod.testing.models import tiny_card

TINY = ModelName("tiny")


@pytest.fixture
def aliases(tmp_path: Path) -> AliasFile:
    return AliasFile(tmp_path / "home" / "aliases.json")


def catalog_with(folder: Path, *names: str) -> Catalog:
    catalog = Catalog(folder)
    for name in names:
        with catalog.staging() as staged:
            catalog.adopt(staged, tiny_card(name))
    return catalog


def test_what_is_put_is_found_by_whoever_looks(aliases: AliasFile, tmp_path: Path) -> None:
    """Also by another process, and with its preferences; a second put changes the first."""
    aliases.put(Alias("gpt-4o", TINY, reasoning="none", thinking=False))
    aliases.put(Alias("openai/gpt-4o:free", TINY))
    elsewhere = AliasFile(tmp_path / "home" / "aliases.json")
    assert elsewhere.find("gpt-4o") == Alias("gpt-4o", TINY, "none", thinking=False)
    aliases.put(Alias("gpt-4o", TINY))
    assert elsewhere.find("gpt-4o") == Alias("gpt-4o", TINY)
    assert len(elsewhere.all()) == 2


def test_a_pattern_stands_for_names_that_no_alias_has(aliases: AliasFile) -> None:
    """The same name wins over a pattern, the earlier pattern over the later one; only * is special."""
    aliases.put(Alias("claude-*-haiku*", ModelName("small")))
    aliases.put(Alias("claude-*", ModelName("large")))
    aliases.put(Alias("claude-3-opus", TINY))
    found = {name: aliases.find(name) for name in ("claude-3-5-haiku-2024", "claude-4", "claude-3-opus", "x")}
    assert [alias and alias.model for alias in found.values()] == ["small", "large", "tiny", None]
    assert [alias.is_pattern for alias in aliases.all()] == [True, True, False]


@pytest.mark.parametrize("name", ["", "a b", "../x", "a..b", "/etc/x", "a\n", "é", "x" * 129, "-a", "[a]"])
def test_a_name_that_cannot_be_an_alias_is_refused(aliases: AliasFile, name: str) -> None:
    """And nothing is written."""
    with pytest.raises(ImportRefused, match="cannot be an alias"):
        aliases.put(Alias(name, TINY))
    assert aliases.all() == ()


def test_forgetting(aliases: AliasFile) -> None:
    """What is not there cannot be forgotten."""
    aliases.put(Alias("a", TINY))
    aliases.remove("a")
    assert aliases.all() == ()
    with pytest.raises(ModelNotFound, match="allod alias"):
        aliases.remove("a")


def test_a_damaged_file_says_what_to_do(aliases: AliasFile, tmp_path: Path) -> None:
    """It is never taken for an empty one, which the next put would then write."""
    aliases.put(Alias("a", TINY))
    (tmp_path / "home" / "aliases.json").write_text("[{]")
    with pytest.raises(ConfigurationError, match="delete it and add"):
        aliases.put(Alias("b", TINY))
    assert (tmp_path / "home" / "aliases.json").read_text() == "[{]"


def test_the_catalogue_looks_for_a_model_first(tmp_path: Path) -> None:
    """An alias that has a model's name does not hide it; one of a model that left is an unknown model."""
    catalog = catalog_with(tmp_path, "tiny", "other")
    catalog.aliases.put(Alias("other", TINY))
    catalog.aliases.put(Alias("gpt", TINY))
    catalog.aliases.put(Alias("gone", ModelName("gone-model")))
    assert catalog.named("other").name == "other"
    assert catalog.alias("other") is None
    assert catalog.named("gpt").name == "tiny"
    assert catalog.alias("gpt") == Alias("gpt", TINY)
    with pytest.raises(ModelNotFound, match="gone-model"):
        catalog.named("gone")
    assert (tmp_path / ALIASES).exists()
    assert [card.name for card in catalog.cards()] == ["other", "tiny"]


def test_a_card_is_replaced_in_one_step(tmp_path: Path) -> None:
    """Whoever reads sees the old one or the new one; nothing else is left in the folder."""
    catalog = catalog_with(tmp_path, "tiny")
    catalog.change(tiny_card("tiny", tool_dialect="glm"))
    assert catalog.named("tiny").tool_dialect == "glm"
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["card.json"]
    with pytest.raises(ModelNotFound):
        catalog.change(tiny_card("nobody"))
