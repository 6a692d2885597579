"""How summaries write figures, and where."""

from rich.console import Console

LOG_WIDTH = 120


def wide_console() -> Console:
    """A console for wide tables: as wide as the terminal; in a file, which has no width, `LOG_WIDTH` at least."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, LOG_WIDTH))


def figure(value: float | None, digits: int = 3, factor: float = 1.0) -> str:
    """A number with so many digits after the point; a dash where it is undefined."""
    return "-" if value is None else f"{factor * value:.{digits}f}"


def percent(value: float | None, digits: int = 3) -> str:
    """A share as percent, without the sign."""
    return figure(value, digits, 100.0)


def p_value(value: float | None) -> str:
    """A p-value to four digits."""
    return "<0.0001" if value is not None and value < 1e-4 else figure(value, 4)


def interval(ends: list[float] | None, digits: int = 2, factor: float = 1.0) -> str:
    """Both ends in brackets, escaped for rich; a dash where they are undefined."""
    return "-" if ends is None else f"\\[{factor * ends[0]:.{digits}f}, {factor * ends[1]:.{digits}f}]"
