"""What trials were passed is kept; what was not is tried again, as is all of it in other circumstances."""

from collections.abc import Callable
from pathlib import Path

import pytest

from allod.runner.trials import Trials, files_of, identity_of


def asked(reason: str = "") -> tuple[Callable[[], str], list[str]]:
    """A trial that counts how often it is made."""
    calls: list[str] = []

    def trial() -> str:
        calls.append(reason)
        return reason

    return trial, calls


def test_what_was_passed_is_not_tried_again(tmp_path: Path) -> None:
    """Not by the next load, and not without its having been kept."""
    file = tmp_path / "measured" / "m+trials.json"
    for keeps in (False, True, True):
        trials = Trials(file, "one")
        trial, calls = asked()
        other, other_calls = asked()
        assert trials.why_not("rows", trial) == trials.why_not("kept", other) == ""
        assert len(calls) == len(other_calls) == (0 if file.exists() else 1)
        if keeps:
            trials.keep()
            assert file.exists()


def test_other_circumstances_try_all_of_it(tmp_path: Path) -> None:
    """And are what is known from then on."""
    file = tmp_path / "m+trials.json"
    for identity, times in (("one", 1), ("one", 0), ("other", 1), ("other", 0), ("one", 1)):
        trials = Trials(file, identity)
        trial, calls = asked()
        trials.why_not("rows", trial)
        trials.keep()
        assert len(calls) == times


def test_where_anything_failed_nothing_is_kept(tmp_path: Path) -> None:
    """It may have failed for want of memory, and what followed was tried on another network."""
    file = tmp_path / "m+trials.json"
    trials = Trials(file, "one")
    assert trials.why_not("rows", asked()[0]) == ""
    assert trials.why_not("kept", asked("[malloc] no memory")[0]) == "[malloc] no memory"
    trials.keep()
    assert not file.exists()


@pytest.mark.parametrize(
    "damage", [b"", b"{", b'{"identity": 3, "trials": []}', b'{"identity": "one"}', b"\xff"]
)
def test_a_damaged_file_is_as_none(tmp_path: Path, damage: bytes) -> None:
    """It is replaced by what is found then."""
    file = tmp_path / "m+trials.json"
    file.write_bytes(damage)
    trial, calls = asked()
    trials = Trials(file, "one")
    trials.why_not("rows", trial)
    trials.keep()
    assert calls == [""]
    trial, calls = asked()
    Trials(file, "one").why_not("rows", trial)
    assert calls == []


def test_another_checkpoint_is_another_one(tmp_path: Path) -> None:
    """Files of the same name with another size or time."""
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    first = identity_of(files_of(tmp_path), "dense float32")
    assert first == identity_of(files_of(tmp_path), "dense float32")
    assert first != identity_of(files_of(tmp_path), "stored 4-bit")
    weights.write_bytes(b"other")
    assert first != identity_of(files_of(tmp_path), "dense float32")
