"""`allod doctor`: what this machine has, and what to install."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from allod.cli import lazy
from allod.cli.exits import ExitCode
from allod.config import Settings
from allod.device import blas
from allod.device.base import GIB, Examination

Run = Callable[..., Any]

CPU = Examination("CPU (x, 2 cores)", 24 * GIB, 16 * GIB, is_cpu=True, compiler="/usr/bin/g++")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What stands for the machine: its examination and its BLAS."""
    machine: dict[str, Any] = {"examination": CPU, "blas": "a blas", "matters": True}

    def examine(_settings: Settings) -> Examination:
        if isinstance(machine["examination"], Exception):
            raise machine["examination"]
        return machine["examination"]

    monkeypatch.setattr(lazy, "examine", examine)
    monkeypatch.setattr(blas, "environment", lambda _settings: dict[str, str]())
    monkeypatch.setattr(blas, "preload", lambda _choice, _folder: machine["blas"])
    monkeypatch.setattr(blas, "matters", lambda _kind: machine["matters"])
    return machine


def shown(allod: Run, *options: str) -> dict[str, str]:
    return json.loads(allod("doctor", "--json", *options).out)


def test_a_machine_that_has_all(allod: Run, found: dict[str, Any]) -> None:
    """One line each; with `--json` the same as an object."""
    ended = allod("doctor")
    assert ended.code == 0
    assert "memory\t24.0 GiB\n" in ended.out
    assert "BLAS\ta blas\n" in ended.out
    assert dict(line.split("\t") for line in ended.out.splitlines()) == shown(allod)
    assert {"device", "budget", "C++ compiler", "mlx", "mlx-lm", "mlx-vlm"} <= set(shown(allod))


def test_what_is_missing_is_named_with_what_brings_it(allod: Run, found: dict[str, Any]) -> None:
    """A BLAS and a compiler; one that the owner turned off is only told."""
    found["blas"], found["examination"] = None, Examination("CPU (x)", GIB, GIB, is_cpu=True, compiler=None)
    assert "apt install libopenblas0-pthread" in shown(allod)["BLAS"]
    assert "apt install g++" in shown(allod)["C++ compiler"]
    assert shown(allod, "--set", "device.blas=none")["BLAS"] == "none"


def test_a_gpu_needs_neither(allod: Run, found: dict[str, Any]) -> None:
    """Nothing to install is suggested where it would help nobody."""
    found["examination"] = Examination("CUDA (y)", GIB, GIB, is_cpu=False, compiler=None)
    assert {shown(allod)["BLAS"], shown(allod)["C++ compiler"]} == {"not needed here"}


def test_without_mlx_it_says_so(allod: Run, found: dict[str, Any]) -> None:
    """A device that is not there, or MLX that cannot be imported, ends it with the reason."""
    found["examination"] = ValueError("device.kind is 'metal', but MLX here has only: cpu")
    ended = allod("doctor")
    assert (ended.code, ended.out) == (ExitCode.FAILED, "")
    assert "device.kind is 'metal'" in ended.err
