"""`allod bench` as a script meets it."""

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.scaffolding.fake_openai import Behaviour, fake_openai

from allod.bench.report import Report
from allod.cli import lazy
from allod.cli.bench import target_of
from allod.cli.exits import ExitCode

Run = Callable[..., Any]

FAST = (
    "--scenario",
    "single",
    "--scenario",
    "streams",
    "--streams",
    "1,2",
    "--repeats",
    "1",
    "--max-tokens",
    "4",
)


@pytest.mark.parametrize(
    ("text", "name", "url", "models"),
    [
        ("http://a:1", "a:1", "http://a:1", ("default",)),
        ("mine=http://a:1/v1", "mine", "http://a:1/v1", ("default",)),
        ("mine=a:1#x,y", "mine", "a:1", ("x", "y")),
        ("http://a/?b=c", "a/?b=c", "http://a/?b=c", ("default",)),
    ],
)
def test_targets(text: str, name: str, url: str, models: tuple[str, ...]) -> None:
    """A target is a URL, with a name before it and models behind it where wanted."""
    found = target_of(text, ("default",), "k")
    assert (found.name, found.url, found.models, found.key) == (name, url, models, "k")


def test_a_run_prints_tables_and_keeps_everything(allod: Run, tmp_path: Path) -> None:
    """Tables on stdout, progress on stderr, all numbers in JSON, drawings in a folder; no key anywhere."""
    out, plots = tmp_path / "out.json", tmp_path / "plots"
    with fake_openai(Behaviour(gap=0.002)) as url:
        ended = allod(
            "bench", "run", f"a={url}", *FAST, "--key", "secret", "--json", str(out), "--plots", str(plots)
        )
    assert ended.code == ExitCode.OK, ended.err
    assert "One stream" in ended.out
    assert "2 streams\ta\t" in ended.out
    assert "streams: 2 streams, a, 1 of 1" in ended.err
    report = msgspec.json.decode(out.read_bytes(), type=Report)
    assert [case.size for case in report.cases] == [1, 1, 2]
    assert report.settings.streams == (1, 2)
    assert "secret" not in out.read_text()
    assert (plots / "bench.html").is_file()
    shown = allod("bench", "show", str(out))
    assert shown.out.strip() in ended.out


def test_a_target_that_is_not_there_is_unavailable(allod: Run) -> None:
    """The exit code is that of a server that does not answer."""
    with fake_openai(Behaviour()) as url:
        pass
    ended = allod("bench", "run", url, *FAST)
    assert ended.code == ExitCode.UNAVAILABLE
    assert "is the server running" in ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "http://a", "--streams", "1,x"), "--streams 1,x: write whole numbers"),
        (("run", "http://a", "--scenario", "nonsense"), "known: single, streams"),
        (("run", "ftp://a"), "ftp://a: not an address"),
        (("run", "http://a", "--repeats", "0"), "--repeats"),
        (("show", "absent.json"), "absent.json"),
        (("synthesize", "big"), "absent|smollm2"),
    ],
)
def test_what_is_wrong_is_named(allod: Run, arguments: tuple[str, ...], words: str) -> None:
    """Before anything is measured, with the option at fault."""
    ended = allod("bench", *arguments)
    assert ended.code in (ExitCode.USAGE, ExitCode.NOT_FOUND)
    assert any(word in ended.err for word in words.split("|"))


def test_plots_without_matplotlib_say_what_to_install(
    allod: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The run does not start, since its drawings could not be made at its end."""

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "allod.bench.drawing":
            raise ModuleNotFoundError("No module named 'matplotlib'")
        return import_module(name, *rest, **named)

    monkeypatch.setattr(lazy, "import_module", without)
    ended = allod("bench", "run", "http://127.0.0.1:9", "--plots", str(tmp_path))
    assert ended.code == ExitCode.USAGE
    assert "pip install 'allod[bench]'" in ended.err


def test_the_bench_is_light() -> None:
    """Measuring loads neither MLX nor numpy nor matplotlib: it shares the machine with what it measures."""
    script = "import sys, allod.cli.bench, allod.bench.run, allod.bench.machine; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "allod" in loaded
    assert not loaded & {"mlx", "mlx_lm", "numpy", "matplotlib", "fastapi", "uvicorn"}
