"""The form that weights compute in: as they are stored or unpacked, and each product which way.

For each kind of product it is decided from what was measured on this machine with this model's weights
(`docs/decisions/0013-compute-form.md`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.utils import dequantize_model

from allod.device.base import Platform
from allod.runner import panels
from allod.runner.arch.model import Parametric
from allod.runner.choice import Ways, choose_unpacked, ways_of
from allod.runner.loaded import CannotLoad, gib, too_large
from allod.runner.measured import BY_PANELS, MeasuredKind
from allod.runner.network import Network
from allod.runner.packed import has_experts, unpack_experts
from allod.runner.product import Product, TiedProduct
from allod.runner.record import Measuring
from allod.runner.settings import RunnerSettings
from allod.runner.stopwatch import weight_of
from allod.runner.survey import DTYPES, Group, Layer, survey
from mlx import nn

_WEIGHTS_SHARE = 0.75
"""Weights that need not be unpacked take at most this share of the budget: the rest is for sequences."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a form has to comply with.

    Attributes:
        settings: what the owner wants.
        platform: the machine.
        budget_bytes: most bytes this process may hold.
        measuring: where measurements are kept.
    """

    settings: RunnerSettings
    platform: Platform
    budget_bytes: int
    measuring: Measuring

    @property
    def room_bytes(self) -> int:
        """What weights may take that need not."""
        return int(_WEIGHTS_SHARE * self.budget_bytes)


def widen(model: nn.Module, terms: Terms) -> None:
    """Bring floating-point weights into the dtype that the platform computes in, where that fits.

    It comes before unpacking: scales in float16 would round every unpacked weight to float16.
    """
    if terms.platform.widened_dtype is None:
        return
    dtype = DTYPES[terms.platform.widened_dtype]
    arrays = [array for _, array in tree_flatten(model.parameters())]
    floats = tuple(DTYPES.values())
    wide_bytes = sum(array.size * dtype.size if array.dtype in floats else array.nbytes for array in arrays)
    if terms.settings.compute == "dense" or wide_bytes <= terms.budget_bytes:
        model.set_dtype(dtype)


def bring_into_form(model: nn.Module, network: Network, terms: Terms, reserved_bytes: int = 0) -> str:
    """Change a model that is not evaluated yet; returns the form in words.

    Args:
        model: the part of it that reads and writes text.
        network: calls that part.
        terms: what the form has to comply with.
        reserved_bytes: what others than this part take of the budget.

    Raises:
        CannotLoad: the owner wants it unpacked, and that does not fit.
    """
    groups = survey(network, model)
    stored_bytes = size_bytes(model)
    if terms.settings.compute == "dense":
        _require_dense_fit(groups, stored_bytes, terms.budget_bytes)
    room_bytes = terms.room_bytes - reserved_bytes - stored_bytes
    is_open = terms.settings.compute == "auto" and any(group.kind.bits for group in groups)
    if is_open or terms.measuring.all_ways:
        kinds = terms.measuring.measured(groups, room_bytes)
    else:
        kinds = tuple(group.described for group in groups)
    kinds = _chosen(kinds, terms, room_bytes)
    for group, kind in zip(groups, kinds, strict=True):
        # Timings say what was there when they were taken; nothing else would compute such weights.
        ways = ways_of([t for t in kind.timings if t.way not in BY_PANELS or panels.are_understood()])
        if group.kind.bits or ways:
            _replace(model, group, kind.dense_modules, ways)
    if terms.settings.compute == "dense":
        dequantize_model(model)
    elif terms.platform.widened_dtype is not None and all(kind.is_dense for kind in kinds):
        unpack_experts(model, room_bytes - sum(kind.dense_bytes - kind.stored_bytes for kind in kinds))
    words = _words(model, kinds)
    terms.measuring.settle(kinds, words)
    return words


def _chosen(kinds: Sequence[MeasuredKind], terms: Terms, room_bytes: int) -> tuple[MeasuredKind, ...]:
    """The kinds, with how many of each are dense; those that never were packed all are."""
    wanted = terms.settings.compute
    unpacked = choose_unpacked(kinds, room_bytes) if wanted == "auto" else (0,) * len(kinds)
    return tuple(
        msgspec.structs.replace(
            kind, dense_modules=kind.modules if wanted == "dense" or not kind.kind.bits else count
        )
        for kind, count in zip(kinds, unpacked, strict=True)
    )


def _replace(model: nn.Module, group: Group, count: int, ways: Ways) -> None:
    """Put layers that know their ways in the place of a group's first ones, wherever the model has them."""
    fresh = [
        (path, new)
        for layer, paths in group.layers[:count]
        for new in [_dense(layer, group, ways)]
        for path in paths
    ]
    model.update_modules(tree_unflatten(fresh))


def _dense(layer: Layer, group: Group, ways: Ways) -> Product | TiedProduct:
    weight = weight_of(layer, group.dtype)
    if isinstance(layer, nn.Embedding | nn.QuantizedEmbedding):
        return TiedProduct(weight, ways)
    return Product(weight, layer.get("bias"), ways)


def _words(model: nn.Module, kinds: Sequence[MeasuredKind]) -> str:
    dtypes = "/".join(dict.fromkeys(kind.kind.dtype for kind in kinds))
    packed = [kind for kind in kinds if kind.kind.bits]
    experts = ", experts stored" if has_experts(model) else ""
    if all(kind.is_dense for kind in packed):
        return f"dense {dtypes}{experts}" if dtypes else f"as stored{experts}"
    widths = sorted({kind.kind.bits for kind in packed if not kind.is_dense})
    stored = f"stored {'/'.join(map(str, widths))}-bit"
    if unpacked := sum(kind.dense_modules for kind in packed):
        total = sum(kind.modules for kind in packed)
        return f"{stored}, dense {dtypes} for {unpacked} of {total} products{experts}"
    return f"{stored}, {dtypes}"


def _require_dense_fit(groups: Sequence[Group], stored_bytes: int, budget_bytes: int) -> None:
    described = [group.described for group in groups]
    needed_bytes = stored_bytes + sum(kind.dense_bytes - kind.stored_bytes for kind in described)
    _refuse_unpacked(needed_bytes, stored_bytes, "dense", budget_bytes)


def require_fit(model: nn.Module, stored_bytes: int, words: str, budget_bytes: int) -> None:
    """Refuse a model in its form that does not fit.

    Raises:
        CannotLoad: it is too large; says so with the numbers, and the way out where there is one.
    """
    if stored_bytes > budget_bytes:
        raise CannotLoad(too_large(stored_bytes, budget_bytes))
    _refuse_unpacked(size_bytes(model), stored_bytes, words, budget_bytes)


def _refuse_unpacked(needed_bytes: int, stored_bytes: int, words: str, budget_bytes: int) -> None:
    if needed_bytes > budget_bytes:
        raise CannotLoad(
            f"{too_large(needed_bytes, budget_bytes)} as {words} weights; as stored it needs "
            f"{gib(stored_bytes)}: set runner.compute to stored"
        )


def size_bytes(model: Parametric) -> int:
    """Bytes of all parameters; lazy arrays know theirs."""
    return sum(array.nbytes for _, array in tree_flatten(model.parameters()))
