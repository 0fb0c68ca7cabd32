"""Numbers as people read them."""

from allod.bench.figures import Unit


def value_words(value: float | None, unit: Unit) -> str:
    """A number with its unit; a dash where there is none."""
    if value is None:
        return "-"
    match unit:
        case "s":
            return seconds_words(value)
        case "tokens/s":
            return f"{value:.1f}/s" if value < 1000 else f"{value:,.0f}/s"
        case "share":
            return f"{value:.0%}"
        case "count":
            return f"{value:g}"


def seconds_words(seconds: float) -> str:
    """Three digits, in seconds or milliseconds."""
    milliseconds = 1000 * seconds
    if milliseconds < 100:
        return f"{milliseconds:.1f} ms"
    return f"{milliseconds:.0f} ms" if milliseconds < 10_000 else f"{seconds:.1f} s"


def failures_words(failures: dict[str, int]) -> str:
    """Kinds with counts; a dash where nothing failed."""
    return ", ".join(f"{count} x {kind}" for kind, count in failures.items()) or "-"


def ratio_words(ratio: float) -> str:
    """A ratio with two decimals and a sign that says it is one."""
    return f"x{ratio:.2f}"
