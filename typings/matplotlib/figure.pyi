from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from matplotlib.axes import Axes

class Figure:
    def __init__(self, *, figsize: tuple[float, float], layout: str, facecolor: str) -> None: ...
    def subplots(self) -> Axes: ...
    def savefig(
        self,
        fname: Path | StringIO,
        *,
        format: str,
        dpi: float = ...,
        metadata: Mapping[str, str | None] | None = None,
    ) -> None: ...
