import json
from pathlib import Path

import msgspec
import pytest

from allod.core.errors import ImportRefused, ModelNotFound
from allod.registry.catalog import Catalog, is_model_name, model_name_from
from allod.registry.importing import import_path
from allod.registry.progress import ignore_progress


def add(catalog: Catalog, checkpoint, name: str):
    return import_path(catalog, checkpoint.folder, name, ignore_progress)


def test_an_empty_catalogue_has_no_cards(catalog: Catalog) -> None:
    """A root that does not exist yet reads as no models, and asking does not create it."""
    assert catalog.cards() == ()
    assert not catalog.root.exists()


def test_cards_are_sorted_and_skip_what_is_damaged(catalog: Catalog, checkpoint) -> None:
    """Damaged, renamed, newer and unfinished entries are absent; the others stay."""
    cards = [add(catalog, checkpoint, name) for name in ("b", "a", "c", "d", "e")]
    (catalog.root / "c" / "card.json").write_text("{")
    (catalog.root / "d").rename(catalog.root / "other")
    newer = json.loads((catalog.root / "e" / "card.json").read_text()) | {"version": 99}
    (catalog.root / "e" / "card.json").write_text(json.dumps(newer))
    (catalog.root / ".staging-1").mkdir()
    assert catalog.cards() == (cards[1], cards[0])


def test_what_another_process_does_is_seen_at_once(catalog: Catalog, checkpoint) -> None:
    """A card that was read before is not believed when its file was changed, damaged, removed or put back."""
    card = add(catalog, checkpoint, "a")
    other, file = Catalog(catalog.root), catalog.root / "a" / "card.json"
    assert catalog.named("a") == card
    other.change(msgspec.structs.replace(card, tool_dialect="glm"))
    assert catalog.named("a").tool_dialect == "glm"
    good = file.read_bytes()
    file.write_bytes(b"{")
    assert catalog.cards() == ()
    file.unlink()
    assert catalog.cards() == ()
    file.write_bytes(good)
    assert catalog.named("a").tool_dialect == "glm"
    other.remove("a")
    with pytest.raises(ModelNotFound):
        catalog.named("a")


def test_an_unknown_name_lists_near_and_known_names(catalog: Catalog, checkpoint) -> None:
    """The message of an unknown name has what a person needs to go on."""
    add(catalog, checkpoint, "smollm2-135m")
    with pytest.raises(ModelNotFound) as caught:
        catalog.named("smollm-135m")
    assert "near names: smollm2-135m" in caught.value.message
    assert "allod pull" in caught.value.message
    assert "allod import" in caught.value.message


def test_at_most_twenty_names_are_listed(catalog: Catalog, checkpoint) -> None:
    """A large catalogue does not make a large message."""
    for number in range(23):
        add(catalog, checkpoint, f"m{number:02d}")
    with pytest.raises(ModelNotFound, match="m19 and 3 more") as caught:
        catalog.named("zzzzzz")
    assert "m20" not in caught.value.message


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/b", "/etc", "A", "a..b", "-a", "a\0", "a\n", "é", "a" * 97]
)
def test_a_name_that_is_no_key_never_reaches_the_disk(catalog: Catalog, checkpoint, name: str) -> None:
    """Illegal names are unknown, cannot be removed and cannot be taken."""
    add(catalog, checkpoint, "a")
    assert not is_model_name(name)
    with pytest.raises(ModelNotFound):
        catalog.named(name)
    with pytest.raises(ModelNotFound):
        catalog.remove(name)
    with pytest.raises(ImportRefused):
        catalog.require_free(name)
    assert [card.name for card in catalog.cards()] == ["a"]


def test_a_link_out_of_the_root_is_not_a_model(catalog: Catalog, checkpoint, tmp_path: Path) -> None:
    """A folder that resolves outside of the root is absent, even with a fitting card."""
    add(catalog, checkpoint, "a")
    (catalog.root / "a").rename(tmp_path / "a")
    (catalog.root / "a").symlink_to(tmp_path / "a")
    assert catalog.cards() == ()


def test_the_root_may_be_a_link(catalog: Catalog, checkpoint, tmp_path: Path) -> None:
    """What counts is that a model stays within the root, wherever that is."""
    card = add(catalog, checkpoint, "a")
    (tmp_path / "elsewhere").symlink_to(catalog.root)
    assert Catalog(tmp_path / "elsewhere").named("a") == card


def test_removal_leaves_nothing(catalog: Catalog, checkpoint) -> None:
    """A removed model is gone with its bytes, and a damaged one can be removed too."""
    add(catalog, checkpoint, "a")
    add(catalog, checkpoint, "b")
    (catalog.root / "b" / "card.json").unlink()
    catalog.remove("a")
    catalog.remove("b")
    assert list(catalog.root.iterdir()) == []


def test_a_taken_name_is_refused(catalog: Catalog, checkpoint) -> None:
    """A second import under one name changes nothing and names both ways out."""
    first = add(catalog, checkpoint, "a")
    with pytest.raises(ImportRefused, match=r"allod rm a.*--name"):
        add(catalog, checkpoint, "a")
    assert catalog.cards() == (first,)


def test_abandoned_work_is_swept(catalog: Catalog, checkpoint) -> None:
    """What a killed process left a day ago goes with the next import; fresh work of others stays."""
    import os

    for name in (".staging-old", ".staging-new", ".trash-x"):
        (catalog.root / name).mkdir(parents=True)
    os.utime(catalog.root / ".staging-old", (0, 0))
    add(catalog, checkpoint, "a")
    assert sorted(entry.name for entry in catalog.root.iterdir()) == [".staging-new", "a"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SmolLM2-135M-Instruct.Q4_1", "smollm2-135m-instruct.q4_1"),
        ("Tiny Llama", "tiny-llama"),
        ("..a..b", "a.b"),
    ],
)
def test_names_are_made_from_file_names(text: str, name: str) -> None:
    """A made name is legal and close to the text."""
    assert model_name_from(text) == name


def test_no_name_comes_from_nothing() -> None:
    """Text without a legal character is refused with the way out."""
    with pytest.raises(ImportRefused, match="--name"):
        model_name_from("日本")
