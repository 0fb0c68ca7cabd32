"""`allod models show`: a model's card, and what its products were measured to take."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from allod.cli.options import AsJson, catalog_of, settings_of
from allod.cli.terminal import bytes_words, say, write, write_json, write_table
from allod.core.card import ModelCard
from allod.runner.choice import Ways, ways_of
from allod.runner.measured import ROWS_FIRST, STORED, Measured, MeasuredKind, Way, read

_MEASURED = "what its products take is measured when it is first loaded"
_NOTHING = "models that embed compute in float32; there is nothing to choose"


def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name of `allod models`.")],
    as_json: AsJson = False,
) -> None:
    """Print what is known of a model, and what was measured on it here: ms for each way and number of rows.

    The server need not run. `~` stands before what was estimated from fewer rows.

    Example: `allod models show smollm2-135m`
    """
    card = catalog_of(context).named(name)
    measured = read(settings_of(context).measured_file(card.name))
    if as_json:
        ways = [ways_of(kind.timings) for kind in measured.kinds] if measured else []
        write_json({"card": card, "measured": measured, "ways": ways})
        return
    for title, text in (*_facts(card), *(_circumstances(measured) if measured else ())):
        write(f"{title}\t{text}")
    if measured is None:
        say(_MEASURED if card.purpose == "text" else _NOTHING)
        return
    rows = sorted({timing.rows for kind in measured.kinds for timing in kind.timings})
    titles = ("product", "modules", "way", *(f"{count} rows" for count in rows), "chosen")
    write_table(titles, [line for kind in measured.kinds for line in _lines(kind, rows)])


def _facts(card: ModelCard) -> tuple[tuple[str, str], ...]:
    abilities = [word for word, has in (("chat", card.has_chat_template), ("pictures", card.vision)) if has]
    return (
        ("name", card.name),
        ("architecture", card.architecture),
        ("purpose", ", ".join((card.purpose, *abilities))),
        ("weights", f"{card.quantization}, {bytes_words(card.weights_bytes)}"),
        ("context", f"{card.context_tokens} tokens"),
        ("vocabulary", str(card.vocabulary)),
        ("draft model", card.draft or "none"),
        ("source", card.source),
        ("created", datetime.fromtimestamp(card.created, UTC).date().isoformat()),
    )


def _circumstances(measured: Measured) -> tuple[tuple[str, str], ...]:
    found = measured.circumstances
    return (
        ("compute", measured.compute or "not chosen yet"),
        ("measured on", f"{found.device}, mlx {found.mlx}, BLAS {found.blas or 'none'}"),
        ("measured in", f"{measured.seconds:.1f} s"),
    )


def _lines(kind: MeasuredKind, counts: Sequence[int]) -> list[tuple[str, ...]]:
    """One line for each way a kind was measured in."""
    lines: list[tuple[str, ...]] = []
    ways: list[Way] = [timing.way for timing in kind.timings]
    for way in dict.fromkeys(ways):
        taken = {timing.rows: timing for timing in kind.timings if timing.way == way}
        cells = [
            _milliseconds(taken[count].seconds, taken[count].estimated) if count in taken else ""
            for count in counts
        ]
        lines.append((kind.kind.words, str(kind.modules), way, *cells, _chosen(kind, way)))
    return lines


def _milliseconds(seconds: float, estimated: bool) -> str:
    return f"{'~' if estimated else ''}{1000 * seconds:.3f}"


def _chosen(kind: MeasuredKind, way: Way) -> str:
    """For how many rows a way is taken."""
    if way == STORED:
        packed = kind.modules - kind.dense_modules
        if 0 < packed < kind.modules:
            return f"{packed} of {kind.modules}"
        return "all rows" if packed else ""
    if not kind.dense_modules:
        return ""
    stretches = _stretches(ways_of(kind.timings), way)
    return ", ".join(stretches)


def _stretches(ways: Ways, way: Way) -> list[str]:
    if not ways:
        return ["all rows"] if way == ROWS_FIRST else []
    found: list[str] = []
    first = 1
    for most_rows, taken in ways:
        is_last = most_rows == ways[-1][0]
        if taken == way:
            found.append(_stretch(first, None if is_last else most_rows))
        first = most_rows + 1
    return found


def _stretch(first: int, last: int | None) -> str:
    """Numbers of rows, for people; without a last one they go on."""
    if last is None:
        return "all rows" if first == 1 else f"{first} up"
    return str(first) if first == last else f"{first}-{last}"
