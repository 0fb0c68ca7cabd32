"""The file of timings: kept whole, for its owner alone; damage is as if there were none."""

import logging
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.runner.measured import (
    AGREEMENT,
    VERSION,
    Circumstances,
    Kind,
    Measured,
    MeasuredKind,
    Timing,
    read,
    write,
)

KIND = Kind("head", 320, 64, "bfloat16", 8, 32, "affine")
MEASURED = Measured(
    Circumstances("a device", "0.1", "a blas", 1000),
    (
        MeasuredKind(
            KIND, 2, 100, 400, (Timing("stored", 1, 0.5), Timing("rows first", 1, 0.25, steady=True))
        ),
    ),
    "stored 8-bit, bfloat16",
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Also into a folder that is not there yet, and over what was there; nobody else may read it."""
    file = tmp_path / "new" / "model.json"
    write(file, MEASURED)
    write(file, msgspec.structs.replace(MEASURED, seconds=2.0))
    found = read(file)
    assert found == msgspec.structs.replace(MEASURED, seconds=2.0)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in file.parent.iterdir()] == ["model.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        msgspec.json.encode(MEASURED)[:-20],
        msgspec.json.encode(MEASURED).replace(b'"seconds":0.25', b'"seconds":-1'),
        msgspec.json.encode(MEASURED).replace(b'"rows first"', b'"sideways"'),
        msgspec.json.encode(msgspec.structs.replace(MEASURED, version=VERSION + 1)),
    ],
    ids=["empty", "cut", "other", "bytes", "end", "negative", "unknown", "newer"],
)
def test_a_damaged_file_is_as_none(tmp_path: Path, content: bytes) -> None:
    """Whatever is in it: nobody has to repair what can be measured again."""
    file = tmp_path / "model.json"
    file.write_bytes(content)
    assert read(file) is None
    assert read(tmp_path / "absent.json") is None


def test_a_disk_that_refuses_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and the next load measures again."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with caplog.at_level(logging.WARNING):
        write(blocked / "model.json", MEASURED)
    assert "not kept" in caplog.text
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_kinds_in_words() -> None:
    """What stands in tables."""
    assert KIND.words == "head 320 x 64, 8-bit g32"
    assert Kind("block", 4, 8, "float32").words == "block 4 x 8, float32"
    assert Kind("block", 4, 32, "bfloat16", 4, 32, "mxfp4").words == "block 4 x 32, 4-bit g32 mxfp4"


tries = st.builds(
    Timing,
    st.just("stored"),
    st.just(1),
    st.floats(1e-6, 1.0),
    estimated=st.booleans(),
    steady=st.booleans(),
).filter(lambda timing: not (timing.estimated and timing.steady))


@given(tries, tries)
def test_tries_of_two_loads_say_the_least_of_both(first: Timing, second: Timing) -> None:
    """In whichever order they came; what was estimated says nothing beside what was measured."""
    both = first.or_quicker(second)
    measured = [timing for timing in (first, second) if not timing.estimated]
    assert both.estimated == (not measured)
    if measured:
        least = min(measured, key=lambda timing: timing.seconds)
        assert both.seconds == second.or_quicker(first).seconds == least.seconds
        assert both.steady >= least.steady


def test_tries_that_agree_across_loads_can_be_relied_on() -> None:
    """Each load had one quick try: together they are two."""
    first, close, far = (Timing("stored", 1, seconds) for seconds in (1.0, 1.0 * AGREEMENT, 1.2))
    assert first.or_quicker(close).steady
    assert close.or_quicker(first).steady
    assert not first.or_quicker(far).steady


def test_ways_of_two_loads_are_put_together_one_by_one() -> None:
    """What only one of them measured stays as it is."""
    fresh = MeasuredKind(KIND, 2, 100, 400, (Timing("stored", 1, 0.5), Timing("rows first", 1, 0.25)), 1)
    earlier = MeasuredKind(KIND, 2, 100, 400, (Timing("stored", 1, 0.25), Timing("columns", 1, 0.1)), 2)
    assert fresh.or_quicker(earlier) == MeasuredKind(
        KIND, 2, 100, 400, (Timing("stored", 1, 0.25), Timing("rows first", 1, 0.25)), 1
    )
