"""A model of any size without its weights: random ones in the form they would be stored in.

What a server costs does not depend on what the weights say, only on how many bytes they are. Written tensor
by tensor, so that a large model takes little memory; made without MLX.
"""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from allod.bench.layouts import Layout, Matrix, Vector
from allod.bench.recipe import Recipe
from allod.core.card import ModelCard
from allod.core.errors import ConfigurationError
from allod.registry.card import describe
from allod.registry.catalog import Catalog
from allod.registry.disk import require_space
from allod.registry.jsonfile import read_object, write_object
from allod.registry.policy import CONFIG_FILE, GENERATION_CONFIG_FILE, TEMPLATE_FILE, TOKENIZER_FILE
from allod.registry.progress import ProgressCallback
from allod.registry.shards import Batch, Bytes, Planned, write_shards
from allod.text.tokenizer import FileTokenCodec

BITS = (2, 3, 4, 5, 6, 8, 16)
GROUP_SIZES = (32, 64, 128)
_UNQUANTISED_BITS = 16
_BFLOAT16_DIGITS = 8
_WORD_BITS = 32
_TOKENIZER_FILES = (
    TOKENIZER_FILE,
    "tokenizer_config.json",
    "special_tokens_map.json",
    TEMPLATE_FILE,
    GENERATION_CONFIG_FILE,
)
_MADE = "random weights, made by `allod bench synthesize`"


def synthesize_model(
    catalog: Catalog, name: str, recipe: Recipe, speaker: ModelCard, on_progress: ProgressCallback
) -> ModelCard:
    """Make a model and put it into the catalogue.

    Args:
        catalog: where it goes.
        name: its key.
        recipe: what it is.
        speaker: a model of the catalogue, whose tokenizer it gets.
        on_progress: told how far it is.

    Raises:
        ConfigurationError: the recipe makes no model.
        ImportRefused: the name is taken, or the disk is too full.
    """
    catalog.require_free(name)
    with catalog.staging() as staged:
        synthesize_folder(staged, recipe, catalog.folder(speaker), on_progress)
        card = describe(staged, name, "directory", _MADE)
        catalog.adopt(staged, card)
    return card


def synthesize_folder(folder: Path, recipe: Recipe, speaker: Path, on_progress: ProgressCallback) -> None:
    """Make a model in an existing folder, as mlx-lm reads it.

    Args:
        folder: where config, weights and tokenizer go.
        recipe: what it is.
        speaker: the folder of a model, whose tokenizer it gets.
        on_progress: told how far it is.

    Raises:
        ConfigurationError: the recipe makes no model.
        ImportRefused: the disk is too full.
    """
    codec = FileTokenCodec.from_file(str(speaker / TOKENIZER_FILE))
    layout = Layout(recipe.config)
    require_recipe(recipe, layout, codec.vocabulary_size)
    maker = _Maker(recipe, _silent_rows(codec, layout.size("vocab_size")))
    batches = [maker.batch(index, tensor) for index, tensor in enumerate(layout.tensors())]
    require_space(folder, sum(batch.stored_bytes for batch in batches))
    for known in _TOKENIZER_FILES:
        if (speaker / known).is_file():
            shutil.copyfile(speaker / known, folder / known)
    write_object(folder / CONFIG_FILE, _config(recipe, read_object(speaker / CONFIG_FILE)))
    write_shards(folder, batches, on_progress, stage="inventing weights")


def require_recipe(recipe: Recipe, layout: Layout, vocabulary: int) -> None:
    """Refuse what no model can be made of.

    Raises:
        ConfigurationError: names the option or the size, and the way out.
    """
    if recipe.bits not in BITS:
        raise ConfigurationError(f"--bits {recipe.bits}: known are {', '.join(map(str, BITS))}")
    if recipe.group_size not in GROUP_SIZES:
        raise ConfigurationError(
            f"--group-size {recipe.group_size}: known are {', '.join(map(str, GROUP_SIZES))}"
        )
    if layout.size("vocab_size") < vocabulary:
        raise ConfigurationError(
            f"vocab_size: {layout.size('vocab_size')} ids, and the tokenizer names {vocabulary}; take a "
            "config with more, or another tokenizer with --tokenizer"
        )
    for tensor in layout.tensors():
        if recipe.bits == _UNQUANTISED_BITS or isinstance(tensor, Vector):
            continue
        if tensor.shape[-1] % recipe.group_size:
            raise ConfigurationError(
                f"{tensor.name}: its {tensor.shape[-1]} columns are no multiple of --group-size "
                f"{recipe.group_size}"
            )


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the tensors.

    Attributes:
        silent: token ids that must never be said: their logits are 0, where others spread around it. So every
            token of an answer has text of its own, and no answer ends before it is as long as was asked for.
    """

    recipe: Recipe
    silent: NDArray[np.bool_]

    def batch(self, index: int, tensor: Matrix | Vector) -> Batch:
        """The tensor as it is stored: alone, or with its scales and biases."""
        if isinstance(tensor, Vector):
            planned = Planned(tensor.name, "BF16", (tensor.length,))
            return Batch((planned,), partial(_filled, tensor.length, tensor.value))
        if self.recipe.bits == _UNQUANTISED_BITS:
            planned = Planned(f"{tensor.name}.weight", "BF16", tensor.shape)
            return Batch((planned,), partial(self._plain, index, tensor))
        *leading, columns = tensor.shape
        words = columns * self.recipe.bits // _WORD_BITS
        groups = columns // self.recipe.group_size
        parts = (
            Planned(f"{tensor.name}.weight", "U32", (*leading, words)),
            Planned(f"{tensor.name}.scales", "BF16", (*leading, groups)),
            Planned(f"{tensor.name}.biases", "BF16", (*leading, groups)),
        )
        return Batch(parts, partial(self._quantised, index, tensor, parts))

    def _random(self, index: int) -> np.random.Generator:
        return np.random.Generator(np.random.SFC64([self.recipe.seed, index]))

    def _quantised(self, index: int, tensor: Matrix, parts: Sequence[Planned]) -> Sequence[Bytes]:
        packed, scales, _ = parts
        weights = self._random(index).integers(0, 2**_WORD_BITS, packed.shape, dtype=np.uint32)
        scale = scale_of(tensor.shape[-1], self.recipe.bits)
        bias = -scale * (2**self.recipe.bits - 1) / 2
        made: list[Bytes] = [_bytes(weights)]
        for value in (scale, bias):
            part = np.full(scales.shape, _bfloat16(value), dtype=np.uint16)
            if tensor.speaks:
                part[self.silent] = 0
            made.append(_bytes(part))
        return made

    def _plain(self, index: int, tensor: Matrix) -> Sequence[Bytes]:
        """Random signs and digits under one exponent: e to 2 e on both sides of 0, e a power of two."""
        weights = self._random(index).integers(0, 2**16, tensor.shape, dtype=np.uint16)
        exponent = round(math.log2(1 / (math.sqrt(tensor.shape[-1]) * math.sqrt(7 / 3))))
        weights &= 0x807F
        weights |= (exponent + 127) << 7
        if tensor.speaks:
            weights[self.silent] = 0
        return (_bytes(weights),)


def scale_of(columns: int, bits: int) -> float:
    """The scale under which uniform integers have a standard deviation of about 1/sqrt(columns).

    It has so few binary digits that the bias, which centres the weights, is exact in bfloat16: else all
    weights of a matrix would lean to one side.
    """
    spread = math.sqrt((4**bits - 1) / 12)
    wanted = 1 / (math.sqrt(columns) * spread)
    fraction, exponent = math.frexp(wanted)
    digits = max(1, _BFLOAT16_DIGITS - bits)
    return math.ldexp(round(math.ldexp(fraction, digits)), exponent - digits)


def _silent_rows(codec: FileTokenCodec, vocabulary: int) -> NDArray[np.bool_]:
    """Ids without whole characters of their own, and special ones, which may end an answer."""
    silent = np.ones(vocabulary, dtype=np.bool_)
    special = frozenset(codec.added_tokens.values())
    for token in range(codec.vocabulary_size):
        if token not in special:
            silent[token] = not _is_text(codec.token_bytes(token))
    return silent


def _is_text(data: bytes) -> bool:
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        return False
    return bool(text) and text.isprintable()


def _config(recipe: Recipe, speaker: Mapping[str, object]) -> Mapping[str, object]:
    """The config with its quantisation, and with the ids of the tokenizer that it got."""
    config = {key: value for key, value in recipe.config.items() if not key.startswith("quantization")}
    ids = {key: speaker[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if key in speaker}
    quantised = {"quantization": {"group_size": recipe.group_size, "bits": recipe.bits}}
    return config | ids | ({} if recipe.bits == _UNQUANTISED_BITS else quantised)


def _filled(length: int, value: float) -> Sequence[Bytes]:
    return (_bytes(np.full((length,), _bfloat16(value), dtype=np.uint16)),)


def _bfloat16(value: float) -> int:
    """The upper half of a float32; exact for the numbers that are made here."""
    return int(np.float32(value).view(np.uint32)) >> 16


def _bytes(array: NDArray[np.uint16] | NDArray[np.uint32]) -> Bytes:
    return array.reshape(-1).view(np.uint8)
