"""What a model's products were measured to take on this machine, kept from one load to the next.

Nothing here computes: the command line reads these files without MLX.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

VERSION = 6

Use = Literal["block", "head"]
"""Where a product stands: in a block, which reads prompts too, or at the end, which scores tokens only."""

Way = Literal[
    "stored",
    "rows first",
    "weights first",
    "padded rows first",
    "pieces",
    "columns",
    "padded columns",
    "panels",
]
"""How a product is computed: on quantised weights, as `x @ w.T`, as `(w @ x.T).T`, as `x @ w.T` with rows
of zeros behind `x` up to a multiple of `PAD_ROWS`, or as `x @ w.T` with the rows of `w` in pieces, one after
the other; two of these again on weights that lie by columns; and by code of our own on weights in panels."""

STORED: Way = "stored"
ROWS_FIRST: Way = "rows first"
WEIGHTS_FIRST: Way = "weights first"
PADDED: Way = "padded rows first"
PIECES: Way = "pieces"
COLUMNS: Way = "columns"
PADDED_COLUMNS: Way = "padded columns"
PANELS: Way = "panels"

BY_ROWS: tuple[Way, ...] = (ROWS_FIRST, WEIGHTS_FIRST, PADDED, PIECES)
BY_COLUMNS: tuple[Way, ...] = (COLUMNS, PADDED_COLUMNS)
BY_PANELS: tuple[Way, ...] = (PANELS,)
"""The ways of unpacked weights that lie row by row, column by column, and in panels; of each the plain one
first."""

PAD_ROWS = 16
"""The kernels of BLAS libraries for wide registers take 16 rows at a time, and are slow for what is left."""

PIECE_ROWS = 8
PIECE_MULTIPLICATIONS = 2**19
"""A piece is so small that OpenBLAS multiplies it as it lies. With few rows most of a product is to bring the
weights into an order of its own; it spares that up to 100^3 multiplications, and is quickest with about half
of them. Beyond some rows a piece is so narrow that nothing is gained."""

AGREEMENT = 1.1
"""The two quickest tries differ by less than this where nothing else ran on the machine."""

DRAFT_SUFFIX = "+draft"
TRIALS_SUFFIX = "+trials"
"""What the names of a model's other files end with: what is of its draft model, which has less room beside
another, and what trials it passed (`trials.py`). No model is named so."""

log = logging.getLogger(__name__)

_Record = TypeVar("_Record", bound=msgspec.Struct)


class Kind(msgspec.Struct, frozen=True):
    """Products that cost the same.

    Attributes:
        use: where they stand.
        outputs: rows of the weight.
        inputs: columns of the weight, unpacked.
        dtype: of what comes in, which unpacked weights are brought into.
        bits: bits of a stored weight; 0 where it is not quantised.
        group: weights that share a scale; 0 where it is not quantised.
        mode: MLX's name of the quantisation; empty where it is not quantised.
    """

    use: Use
    outputs: int
    inputs: int
    dtype: str
    bits: int = 0
    group: int = 0
    mode: str = ""

    @property
    def words(self) -> str:
        """The kind, for people."""
        form = f"{self.bits}-bit g{self.group}" if self.bits else self.dtype
        mode = "" if self.mode in ("", "affine") else f" {self.mode}"
        return f"{self.use} {self.outputs} x {self.inputs}, {form}{mode}"


class Timing(msgspec.Struct, frozen=True):
    """What one product took.

    Attributes:
        way: how it was computed.
        rows: of the input.
        seconds: the least of several tries.
        estimated: not measured, because it would have taken long: in proportion from fewer rows.
        steady: two tries agreed on the least, so that it can be relied on.
    """

    way: Way
    rows: int
    seconds: Annotated[float, msgspec.Meta(gt=0)]
    estimated: bool = False
    steady: bool = False

    def or_quicker(self, earlier: Timing) -> Timing:
        """What tries of two loads say together: whatever else ran can only have made one longer."""
        if self.estimated or earlier.estimated:
            return self if earlier.estimated else earlier
        least, other = sorted((self, earlier), key=lambda each: each.seconds)
        agreed = least.steady or other.seconds <= AGREEMENT * least.seconds
        return Timing(least.way, least.rows, least.seconds, steady=agreed)


class MeasuredKind(msgspec.Struct, frozen=True):
    """A kind of product in one model.

    Attributes:
        kind: which.
        modules: how many there are.
        stored_bytes: of all of them, as they are stored.
        dense_bytes: of all of them, unpacked.
        timings: what was measured.
        dense_modules: how many of them were unpacked when the model was last loaded.
    """

    kind: Kind
    modules: int
    stored_bytes: int
    dense_bytes: int
    timings: tuple[Timing, ...] = ()
    dense_modules: int = 0

    def or_quicker(self, earlier: MeasuredKind) -> MeasuredKind:
        """The same products with what tries of two loads say together."""
        known = {(timing.way, timing.rows): timing for timing in earlier.timings}
        timings = [
            timing.or_quicker(other) if (other := known.get((timing.way, timing.rows))) else timing
            for timing in self.timings
        ]
        return msgspec.structs.replace(self, timings=tuple(timings))

    @property
    def is_dense(self) -> bool:
        """Whether all of them were."""
        return self.dense_modules == self.modules


class Circumstances(msgspec.Struct, frozen=True):
    """What timings depend on beside the model; in others they are taken anew.

    Attributes:
        device: in words.
        mlx: version of MLX.
        blas: the BLAS that was loaded before MLX, with its version; empty for MLX's own.
        room_bytes: most bytes that weights may take.
    """

    device: str
    mlx: str
    blas: str
    room_bytes: int


class Measured(msgspec.Struct, frozen=True):
    """One model's products.

    Attributes:
        circumstances: what the timings hold for.
        kinds: the products, those that take most of a step first.
        compute: the form the model was last loaded in, in words.
        seconds: how long measuring took.
        version: layout of this record.
    """

    circumstances: Circumstances
    kinds: tuple[MeasuredKind, ...]
    compute: str = ""
    seconds: float = 0.0
    version: int = VERSION


def read(path: Path) -> Measured | None:
    """What a file holds; None where there is none, or none that can be used."""
    found = read_record(path, Measured)
    return found if found is not None and found.version == VERSION else None


def read_record(path: Path, kind: type[_Record]) -> _Record | None:
    """A record of this kind; None where the file is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None


def write(path: Path, record: msgspec.Struct) -> None:
    """Replace a file in one step, for its owner's eyes. A disk that refuses costs the next load its time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            file.write(msgspec.json.format(msgspec.json.encode(record), indent=1))
        Path(file.name).replace(path)
    except OSError as error:
        log.warning("what a load found is not kept: %s", error)


def beside(file: Path, suffix: str) -> Path:
    """The file of the same model with what a suffix stands for."""
    return file.with_stem(f"{file.stem}{suffix}")


def files_of_model(file: Path) -> tuple[Path, ...]:
    """All that loads of a model keep, by the file with its timings."""
    timings = (file, beside(file, DRAFT_SUFFIX))
    return (*timings, *(beside(each, TRIALS_SUFFIX) for each in timings))
