"""Columns of text, as wide as their widest cell and two spaces apart. Nothing wraps."""

from collections.abc import Iterable, Sequence

GAP = "  "
Row = Sequence[str]


def widths(rows: Iterable[Row]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def line(row: Row, width: Sequence[int]) -> str:
    padded = (cell.ljust(size) for cell, size in zip(row, width, strict=True))
    return GAP.join(padded).rstrip()


def table(rows: Sequence[Row]) -> str:
    """The rows, the first of which is the header, without the last line's end."""
    width = widths(rows)
    return "\n".join(line(row, width) for row in rows)
