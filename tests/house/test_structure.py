"""The house rules that neither ruff nor the import contract can hold."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "allod"
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 400
LONGEST_TABLE = 600
TABLES: frozenset[str] = frozenset()
"""Schemas and data tables that may be longer; none is."""
ROOMS = sorted(path for path in PACKAGE.iterdir() if (path / "__init__.py").exists())
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
GATEWAY = (
    "allod.app",
    "allod.api.application",
    "allod.service.chat",
    "allod.registry.pull",
    "allod.local.backend",
)


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def named_nodes(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.name


@pytest.mark.parametrize("module", MODULES, ids=shown)
def test_modules_stay_small_and_plain(module: Path) -> None:
    """A module is short, has a docstring, no `global`, no TYPE_CHECKING, and a name that says something."""
    text = module.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= (LONGEST_TABLE if shown(module) in TABLES else LONGEST)
    assert ast.get_docstring(tree) or not text
    assert not any(isinstance(node, ast.Global) for node in ast.walk(tree))
    assert "TYPE_CHECKING" not in set(named_nodes(tree))
    assert not FORBIDDEN_NAMES & set(module.stem.split("_"))


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_says_who_it_is_and_nothing_else(room: Path) -> None:
    """`__init__` is a docstring of at most 12 lines: what lives here, what never does, who may enter."""
    tree = ast.parse((room / "__init__.py").read_text())
    docstring = ast.get_docstring(tree) or ""
    assert len(tree.body) == 1
    assert len(docstring.splitlines()) <= 12
    assert docstring.startswith(f"{room.name}: ")
    for line in ("Lives here: ", "Never: ", "Enter: "):
        assert line in docstring


@pytest.mark.parametrize("module", GATEWAY)
def test_the_gateway_never_loads_mlx(module: str) -> None:
    """Importing any part of the gateway in a fresh interpreter leaves MLX, torch and transformers out."""
    script = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "allod" in loaded
    assert not loaded & {"mlx", "mlx_lm", "torch", "transformers"}


def test_only_config_reads_the_environment() -> None:
    """No other module names `environ` or `getenv`, by whatever import."""
    readers = {
        shown(module)
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")
    }
    assert readers == {"src/allod/config.py"}


def test_imports_by_name_are_few() -> None:
    """`import_module` is called where start-up depends on the order or the cost of imports, and says why."""
    callers = {shown(module) for module in MODULES if "import_module" in module.read_text()}
    assert callers == {
        "src/allod/cli/lazy.py",
        "src/allod/runner/load.py",
        "src/allod/runner/tokenizerless.py",
        "src/allod/worker/__main__.py",
        "src/allod/worker/measure.py",
        "src/allod/worker/process.py",
    }
