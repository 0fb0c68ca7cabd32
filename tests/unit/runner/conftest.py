"""MLX tests compute with a real BLAS where the machine has one; it must be loaded before MLX is."""

from allod.device import blas

blas.preload("auto")
