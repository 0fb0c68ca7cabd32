"""The command line as a whole: help, options that may stand anywhere, exit codes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.cli.exits import MEANINGS, ExitCode, code_of
from allod.cli.options import hoist
from allod.cli.terminal import bytes_words
from allod.core import errors
from allod.version import __version__

Run = Callable[..., Any]


def test_help_shows_commands_and_exit_codes(allod: Run) -> None:
    """`allod --help` has every command and the whole table of codes."""
    ended = allod("--help")
    assert ended.code == 0
    for word in ("up", "serve", "chat", "models", "pull", "import", "rm", "keys", "config", "version"):
        assert f" {word} " in ended.out
    for code, meaning in MEANINGS.items():
        assert f"{code.value}: {meaning}" in ended.out


def test_import_is_light() -> None:
    """Help and completion load neither the HTTP server, nor MLX, nor numpy, nor a Hub client."""
    script = "import sys, allod.cli.main; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "typer" in loaded
    heavy = {
        "fastapi",
        "starlette",
        "uvicorn",
        "mlx",
        "mlx_lm",
        "numpy",
        "gguf",
        "huggingface_hub",
        "tokenizers",
    }
    assert not heavy & set(loaded)


def test_global_options_stand_anywhere(allod: Run, tmp_path: Path) -> None:
    """--set, --home and --config mean the same before and after the command."""
    other = str(tmp_path / "other")
    ways = (
        ("--home", other, "--set", "api.port=9", "config", "show", "--json"),
        ("config", "--set=api.port=9", "show", f"--home={other}", "--json"),
    )
    first, second = (json.loads(allod(*way).out) for way in ways)
    assert first == second
    assert first["home"] == other
    assert first["settings"]["api.port"] == {"value": 9, "from": "command line"}
    assert first["settings"]["api.host"]["from"] == "default"


@given(st.lists(st.sampled_from(("a", "--home", "--set=x.y=1", "--json", "v")), max_size=8))
def test_hoist_loses_nothing(arguments: list[str]) -> None:
    """Hoisting reorders: nothing is lost, nothing is made, and after `--` nothing moves."""
    assert sorted(hoist(arguments)) == sorted(arguments)
    assert hoist(["x", "--", *arguments]) == ["x", "--", *arguments]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nonsense",), ExitCode.USAGE, "nonsense"),
        (("models", "--nonsense"), ExitCode.USAGE, "--nonsense"),
        (("models", "--set", "api.port"), ExitCode.USAGE, "write SECTION.NAME=VALUE"),
        (("models", "--set", "api.prot=1"), ExitCode.USAGE, "did you mean api.port"),
        (("serve", "--port", "99999"), ExitCode.USAGE, "api.port = '99999' (from command line)"),
        (("rm", "absent", "--yes"), ExitCode.NOT_FOUND, "absent"),
        (("rm", "absent"), ExitCode.NOT_FOUND, "absent"),
        (("keys", "revoke", "absent"), ExitCode.NOT_FOUND, "absent"),
        (("import", "/nowhere/at/all"), ExitCode.REFUSED, "is not there"),
        (("pull", "org/model", "--set", "registry.offline=true"), ExitCode.REFUSED, "registry.offline"),
        (("chat", "--base-url", "http://127.0.0.1:9"), ExitCode.UNAVAILABLE, "is `allod up` running?"),
    ],
)
def test_failures_say_why_and_end_with_their_code(
    allod: Run, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """Each failure has its message on stderr, nothing on stdout, and the code of the table."""
    ended = allod(*arguments)
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err
    assert "Traceback" not in ended.err


def test_every_error_has_an_exit_code() -> None:
    """Errors map to documented codes; the most particular class decides."""
    assert code_of(errors.ModelNotFound("x")) is ExitCode.NOT_FOUND
    assert code_of(errors.Busy("x")) is ExitCode.UNAVAILABLE
    assert code_of(errors.InternalFailure("x")) is ExitCode.FAILED
    assert set(MEANINGS) == set(ExitCode)


def test_version(allod: Run) -> None:
    """Both spellings tell the version."""
    assert allod("--version").out == f"{__version__}\n"
    assert json.loads(allod("version", "--json").out)["allod"] == __version__
    assert allod("version").out.startswith(f"allod {__version__}\n")


def test_keys_are_shown_once(allod: Run) -> None:
    """A key is on stdout when it is made, and in no list afterwards."""
    secret = allod("keys", "add", "laptop").out.strip()
    listed = allod("keys", "list", "--json")
    (key,) = json.loads(listed.out)
    assert key["label"] == "laptop"
    assert secret not in listed.out
    assert key["id"] in allod("keys", "list").out
    assert allod("keys", "revoke", key["id"]).code == 0
    assert json.loads(allod("keys", "list", "--json").out) == []


def test_no_models_yet(allod: Run) -> None:
    """An empty catalogue is empty data on stdout and a hint on stderr."""
    assert json.loads(allod("models", "--json").out) == []
    ended = allod("models")
    assert (ended.out, "allod pull" in ended.err) == ("", True)


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (1023, "1023 B"), (2**20, "1 MiB"), (98_362_432, "94 MiB"), (3 * 2**29, "1.5 GiB")],
)
def test_sizes_in_words(count: int, words: str) -> None:
    """Sizes are in powers of 1024, as memory is."""
    assert bytes_words(count) == words
