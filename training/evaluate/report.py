"""A table for people; the JSON line behind it is printed by ``__main__``."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

WIDTH = 140  # where the output is no terminal
Cell = float | int | str | bool | None


def print_table(title: str, rows: Mapping[str, Mapping[str, Cell]], columns: Sequence[str] | None = None) -> None:
    """Print named rows of named cells.

    Args:
        title: above the table.
        rows: name of the row -> name of the column -> value.
        columns: order; default, the order of first appearance.
    """
    names = list(columns or dict.fromkeys(name for row in rows.values() for name in row))
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for label, row in rows.items():
        table.add_row(label, *(_text(row.get(name)) for name in names))
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    console.print(table)


def print_values(title: str, values: Mapping[str, Cell]) -> None:
    """Print named values, one below the other."""
    print_table(title, {name: {"value": value} for name, value in values.items()})


def rounded(values: Mapping[str, float], digits: int = 4) -> dict[str, Cell]:
    """The values as a JSON line carries them; NaN stays NaN for `__main__` to turn into null."""
    return {name: round(float(value), digits) for name, value in values.items()}


def _text(value: Cell) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
