"""How hard and how long is tried, and what MLX computes with: that must be there before it is imported."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from allod.config import offer
from allod.device import blas
from allod.device.settings import DeviceSettings

blas.prepare(DeviceSettings(), offer, str(Path(tempfile.gettempdir()) / f"allod-tests-{os.getuid()}"))

# On a GPU MLX multiplies float32 with ten binary digits (TF32), too few for tests that want the tokens of
# another library or another order of sums. What starts processes of its own does without: `defaults`.
offer({"MLX_ENABLE_TF32": "0"})

# Homes of tests are new, and loops that MLX compiles for the CPU take seconds: their servers share them.
offer({"TMPDIR": tempfile.gettempdir()})

# `make quick` asks for less than `make test`. A deadline would make slow machines fail what is only slow.
settings.register_profile("thorough", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=15)
settings.load_profile("thorough")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--endurance", action="store_true", help="many more rounds, requests and histories")


@pytest.fixture(scope="session")
def endures(pytestconfig: pytest.Config) -> bool:
    """Whether tests that ask the same again and again are to go on for long, as `make endurance` wants."""
    return bool(pytestconfig.getoption("--endurance"))
