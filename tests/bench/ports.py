"""`make bench-ports`: what publishing a port costs, beside direct access to what is behind it.

Options: --rounds N (5), --seconds S of each measurement (0.15).
"""

import argparse
import statistics
from collections.abc import Iterator

from tests.bench.machines import machines
from tests.bench.standin import standing_in
from tests.bench.ways import CLIENTS, DIRECT, STREAM, Group, Row

LEGEND = """\
Median (min-max) of the rounds, which take turns; in brackets the ratio to direct access from the same
place: of the medians, of the best rounds (other work on the machine only takes away). Of all connections:
those answered rightly / with what was meant for another client / not at all within a second (busybox
httpd lets so few connections wait that it loses some of 16 clients' by any way).
The last column: the same, of requests that each follow a client that left a page unread.
"""
MEASURES = (STREAM, *CLIENTS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-ports", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.15)
    options = parser.parse_args()
    print(LEGEND)
    with standing_in() as group:
        show(group, options.rounds, options.seconds)
    with machines() as made:
        for group in made.groups():
            show(group, options.rounds, options.seconds)


def show(group: Group, rounds: int, seconds: float) -> None:
    heads = ("from", "by", *MEASURES, "right/mixed/lost", "after abandoned")
    widths = (12, 13, 32, 32, 32, 20, 15)
    table = [heads, tuple("-" * width for width in widths)]
    table += lines(group.measured(rounds, seconds))
    print(f"{group.title}\n")
    for cells in table:
        padded = (f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True))
        print(f"| {' | '.join(padded)} |", flush=True)
    print()


def lines(rows: list[Row]) -> Iterator[tuple[str, ...]]:
    direct = {row.way.origin: row for row in rows if row.way.publisher == DIRECT}
    for row in rows:
        base = direct.get(row.way.origin, direct["the node"])
        cells = (cell(row.values[name], base.values[name]) for name in MEASURES)
        counts = (f"{row.right} / {row.mixed} / {row.lost}", " / ".join(map(str, row.after)))
        yield (row.way.origin, row.way.publisher, *cells, *counts)


def cell(values: list[float], base: list[float]) -> str:
    middle, least, most = statistics.median(values), min(values), max(values)
    digits = 0 if middle >= 100 else 2
    text = f"{middle:.{digits}f} ({least:.{digits}f}-{most:.{digits}f})"
    if values is base:
        return text
    return f"{text} [{middle / statistics.median(base):.2f}, {most / max(base):.2f}]"


if __name__ == "__main__":
    main()
