"""How hard the properties are tried, and the BLAS that MLX computes with: it must be loaded before MLX is."""

from hypothesis import settings

from allod.config import offer
from allod.device import blas
from allod.device.settings import DeviceSettings

blas.prepare(DeviceSettings(), offer)

# `make quick` asks for less than `make test`. A deadline would make slow machines fail what is only slow.
settings.register_profile("thorough", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=15)
settings.load_profile("thorough")
