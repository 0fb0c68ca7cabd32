"""A model in memory, and why one may not get there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from allod.core.pictures import Sight
from allod.runner.network import Network

Config = Mapping[str, object]


class CannotLoad(Exception):
    """A model does not load; the message is fit for the person who asked for it."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model on the device.

    Attributes:
        network: the model.
        config: its config.json, with a VLM's text part on top.
        compute: the form it computes in, in words.
        weights_bytes: MLX's active bytes after loading.
        sight: what pictures cost; None for a model that does not see.
        blind_because: why a model that could see does not; empty else.
        pads_chunks: the network brings chunks of a prompt to few lengths.
        groups_rows: the network takes rows in groups by length.
    """

    network: Network
    config: Config
    compute: str
    weights_bytes: int
    sight: Sight | None = None
    blind_because: str = ""
    pads_chunks: bool = False
    groups_rows: bool = False

    def number(self, *names: str, default: int) -> int:
        """The first of these config entries that is a positive integer."""
        return number(self.config, *names, default=default)


def part(config: Config, name: str) -> Config:
    """A part of a config that has entries of its own; empty where there is none."""
    found = config.get(name)
    return cast("Config", found) if isinstance(found, dict) else {}


def text_part(config: Config) -> Config:
    """What a config says of the language model, where it also tells of others."""
    return part(config, "text_config") or part(config, "llm_config")


def number(config: Config, *names: str, default: int) -> int:
    """The first of these entries that is a positive integer."""
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return default


def too_large(needed_bytes: int, budget_bytes: int) -> str:
    """That a model does not fit, with the numbers."""
    return (
        f"the model needs {gib(needed_bytes)} and this worker's budget is {gib(budget_bytes)} "
        "(device.memory_budget_bytes)"
    )


def not_installed(error: ImportError) -> str:
    """That mlx-vlm is missing, and what brings it."""
    return f"mlx-vlm is not installed here ({error}); install allod with its extra `vision`"


def gib(size_bytes: int) -> str:
    """A size for people."""
    return f"{size_bytes / 2**30:.2f} GiB"
