"""What a stranger must not find in the tree, and what must agree with the code."""

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "allod"
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))

# Put together from pieces, so that this file holds no literal hit.
LEAKS = re.compile(
    "|".join(
        (
            r"https?://\S*/" + "simple" + r"\b",
            "files" + r"\.pythonhosted",
            r"--(?:extra-)?" + "index" + r"-url[ =]\S*:",
            r"(?<![\w./$}~-])/(?:" + "work|root" + r")/\w",
        )
    )
)
REFERENCE = re.compile(r"`([a-z_/]+\.py):(\w+)`")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: there is no list of tracked files")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize(
    ("text", "leaks"),
    [
        ("https://example.org/" + "simple", True),
        ("--" + "index-url https://x", True),
        ("/" + "work/main", True),
        ("see docs/" + "work/x and https://docs.astral.sh/uv/", False),
    ],
)
def test_the_leak_pattern_finds_what_it_should(text: str, *, leaks: bool) -> None:
    """The next test can fail: its pattern finds leaks and only those."""
    assert bool(LEAKS.search(text)) is leaks


def test_no_address_of_a_registry_and_no_path_of_a_workplace() -> None:
    """No tracked text names where somebody's packages come from or where somebody works."""
    hits: list[str] = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        hits += [f"{path.relative_to(ROOT)}: {found.group()}" for found in LEAKS.finditer(text)]
    assert hits == []


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_locks_are_hashed_and_agree(lock: Path) -> None:
    """Every pin has a hash, no line is an address, and a package has one version in all locks."""
    text = lock.read_text()
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert len(entries) > 20
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
    tested = pins(ROOT / "requirements" / "dev.txt")
    differing = {
        name: version for name, version in pins(lock).items() if tested.get(name, version) != version
    }
    assert differing == {}


@pytest.mark.parametrize("name", ["cpu", "cuda", "metal"])
def test_locks_hold_what_builds_the_package(name: str) -> None:
    """The package is built without isolation, so its build tools are in every lock it is installed from."""
    assert {"hatchling", "editables"} <= set(pins(ROOT / "requirements" / f"{name}.txt"))


def test_generated_documentation_is_fresh() -> None:
    """The tables of rooms, settings and commands say what the code says."""
    command = [sys.executable, "tools/generate_docs.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def names_in(module: Path) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, kinds)}


def test_the_walk_names_things_that_exist() -> None:
    """Every `path:name` of ARCHITECTURE.md is a function or class of that module."""
    references = REFERENCE.findall((ROOT / "ARCHITECTURE.md").read_text())
    assert len(references) > 15
    missing = [
        f"{path}:{name}"
        for path, name in references
        if not (PACKAGE / path).is_file() or name not in names_in(PACKAGE / path)
    ]
    assert missing == []


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link in the documentation is a file."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    links = [
        (page, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text())
        if "://" not in target
    ]
    assert len(links) > 20
    assert [str(target) for page, target in links if not (page.parent / target).exists()] == []


def test_every_page_is_in_the_menu() -> None:
    """Who reads the site finds all of docs/; a page that is linked from nowhere is not read."""
    menu = (ROOT / "mkdocs.yml").read_text()
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")]
    assert len(pages) > 30
    assert [page for page in pages if f": {page}\n" not in f"{menu}\n"] == []


def test_what_needs_the_starter_model_says_so_and_is_run() -> None:
    """`make test` goes over two parts of the tests, and none may hide between them."""
    modules = sorted((ROOT / "tests" / "e2e").glob("test_*.py"))
    assert len(modules) > 15
    marked = re.compile(r"^pytestmark = .*pytest\.mark\.model\b", re.MULTILINE)
    assert [module.name for module in modules if not marked.search(module.read_text())] == []
    elsewhere = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if path not in modules
        and re.search(r"^(pytestmark|@).*mark\.model\b", path.read_text(), re.MULTILINE)
    ]
    makefile = (ROOT / "Makefile").read_text()
    assert [path for path in elsewhere if f" {path}\n" not in makefile] == []


@pytest.mark.slow
def test_the_wheel_holds_every_module(tmp_path: Path) -> None:
    """The built wheel has all modules, the type marker and the licence; hatchling builds it offline."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {f"allod/{path.relative_to(PACKAGE).as_posix()}" for path in PACKAGE.rglob("*.py")}
    assert expected | {"allod/py.typed"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
