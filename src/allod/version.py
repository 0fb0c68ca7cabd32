"""Versions: of allod, in one place, and of what is installed beside it."""

from importlib.metadata import PackageNotFoundError, version

__version__ = "0.1.0"


def version_of(package: str) -> str:
    """The version of a package; empty where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
