"""Quantised layers whose products are not measured: experts, and what towers have."""

from __future__ import annotations

from mlx_lm.models.switch_layers import QuantizedSwitchLinear
from mlx_lm.utils import dequantize_model

from mlx import nn

_EXPERTS = "QuantizedSwitchLinear"
"""mlx-lm and mlx-vlm each have a class of this name."""

_UNPACKED = nn.QuantizedLinear | nn.QuantizedEmbedding | QuantizedSwitchLinear
"""What mlx-lm can unpack."""


def has_experts(model: nn.Module) -> bool:
    """Whether a model has experts that are packed."""
    return any(type(module).__name__ == _EXPERTS for _, module in model.named_modules())


def unpack_experts(model: nn.Module, room_bytes: int) -> None:
    """Unpack experts where all of them fit.

    Args:
        model: not evaluated yet.
        room_bytes: what they may take beyond their stored form.
    """
    holders = [
        module
        for _, module in model.named_modules()
        if any(isinstance(child, QuantizedSwitchLinear) for child in module.values())
    ]
    if sum(map(extra_bytes, holders)) <= room_bytes:
        for holder in holders:
            dequantize_model(holder)


def extra_bytes(model: nn.Module) -> int:
    """What unpacking all of a module takes beyond its stored form."""
    total_bytes = 0
    for _, layer in model.named_modules():
        if isinstance(layer, _UNPACKED):
            total_bytes += layer.scales.size * layer.group_size * layer.scales.dtype.size
            total_bytes -= layer.weight.nbytes + layer.scales.nbytes
            total_bytes -= 0 if layer.biases is None else layer.biases.nbytes
    return total_bytes
