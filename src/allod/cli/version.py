"""`allod version`: what is installed here."""

import platform

from allod.cli.options import AsJson
from allod.cli.terminal import write, write_json
from allod.version import __version__, version_of

_PARTS = ("mlx", "mlx-lm", "fastapi", "tokenizers")


def version(as_json: AsJson = False) -> None:
    """Print the version of allod, of Python and of the parts that decide how a model computes."""
    parts = {"allod": __version__, "python": platform.python_version(), "platform": platform.platform()}
    parts |= {name: installed_version(name) for name in _PARTS}
    if as_json:
        write_json(parts)
        return
    for name, text in parts.items():
        write(f"{name} {text}")


def installed_version(name: str) -> str:
    """The version of a package; words where it is not installed."""
    return version_of(name) or "not installed"
