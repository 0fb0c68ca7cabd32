"""What a synthetic model is to be: the config of any model, and the form of its weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import cast

from allod.core.errors import ConfigurationError
from allod.registry.jsonfile import child, read_object


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is made.

    Attributes:
        config: its config.json, quantisation left out.
        bits: of a quantised weight; 16 stores bfloat16.
        group_size: weights that share a scale.
        seed: of the weights.
    """

    config: Mapping[str, object]
    bits: int = 4
    group_size: int = 64
    seed: int = 0


def preset_names() -> tuple[str, ...]:
    """The models whose configs are here."""
    return tuple(_presets())


def preset(name: str) -> Mapping[str, object]:
    """The config of a known model.

    Raises:
        ConfigurationError: it is not here.
    """
    found = child(_presets(), name)
    if not found:
        raise ConfigurationError(
            f"--like {name}: known are {', '.join(_presets())}; or give --config-json FILE"
        )
    return found


def config_file(path: Path) -> Mapping[str, object]:
    """A config.json from disk; of a model that sees, the part for text.

    Raises:
        ConfigurationError: there is none.
        ImportRefused: it is damaged.
    """
    if not path.is_file():
        raise ConfigurationError(f"--config-json {path}: there is no such file")
    config = read_object(path)
    return child(config, "text_config") or config


def _presets() -> Mapping[str, object]:
    text = files("allod.bench").joinpath("presets.json").read_text(encoding="utf-8")
    return cast("dict[str, object]", json.loads(text))
