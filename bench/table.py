"""What a measurement says: a row with its goal."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One measured thing beside what it is compared with; `ratio` is the first by the second."""

    what: str
    ours: str
    against: str
    ratio: float | None = None
    goal: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the ratio meets its goal."""
        if self.ratio is None or self.goal is None:
            return ""
        return "met" if self.ratio <= self.goal else "missed"


HEAD = ("measured", "Secondlock", "compared with", "ratio", "goal", "")


def cells(row: Row) -> tuple[str, ...]:
    """The row as text."""
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    goal = "" if row.goal is None else f"at most {row.goal:g}"
    return (row.what, row.ours, row.against, ratio, goal, row.verdict)


def terminal(rows: list[Row]) -> Table:
    """The rows for a terminal."""
    table = Table(*HEAD)
    for row in rows:
        table.add_row(*cells(row))
    return table


def markdown(rows: list[Row]) -> str:
    """The rows for a page of docs/."""
    lines = [HEAD, ("---",) * len(HEAD), *map(cells, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
