"""What the owner can set about the machine."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_doc import Doc
from annotated_types import Ge


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """Which device computes, and how much memory it may take."""

    kind: Annotated[
        Literal["auto", "metal", "cuda", "cpu"],
        Doc("The device MLX computes on; `auto` takes the GPU if any."),
    ] = "auto"
    memory_budget_bytes: Annotated[
        int,
        Ge(0),
        Doc("Most bytes all workers may hold together; 0 leaves max(8 GiB, 10%) of memory to the system."),
    ] = 0
    blas: Annotated[
        str,
        Doc("CPU only: the BLAS library to load before MLX: `auto`, `none`, or a path to a shared library."),
    ] = "auto"
    panels: Annotated[
        Literal["auto", "off"],
        Doc(
            "Linux CPUs only: `auto` multiplies weights by code of allod's own where that is measured to be "
            "faster than the BLAS; the system's C compiler makes it at the first load."
        ),
    ] = "auto"
