"""The command as a script meets it: arguments in; exit code, stdout and stderr out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from allod.cli.main import run


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def allod(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `allod` in a home of its own."""
    monkeypatch.setenv("ALLOD_HOME", str(tmp_path))
    monkeypatch.setenv("TERMINAL_WIDTH", "200")

    def call(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            run(arguments)
        captured = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0 if code is None else 1, captured.out, captured.err)

    return call
