"""Runs many seeds, or shows one: see --help."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

from tests.simulation import bugs, documents
from tests.simulation.run import Result, simulate

MOST_SHOWN = 20
PROGRESS = 5.0
REPLAY = "replay: python -m tests.simulation --seed {seed} -v"


@dataclass
class Totals:
    schedules: int = 0
    events: int = 0
    hours: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[int, str]] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.schedules += 1
        self.events += result.events
        self.hours += result.seconds / 3600
        self.faults += result.faults
        if result.violation:
            self.violations.append((result.seed, result.violation))


def main() -> None:
    options = parse()
    with bugs.swapped(options.bug) if options.bug else nullcontext():
        sys.exit(one(options) if options.seed is not None else many(options))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument(
        "--seeds", type=int, default=1000, metavar="N", help="how many (%(default)s)"
    )
    parser.add_argument("--start", type=int, default=0, metavar="S", help="the first seed")
    parser.add_argument("--seed", type=int, metavar="X", help="this one seed")
    parser.add_argument("-v", "--verbose", action="store_true", help="with --seed: all its events")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="J")
    parser.add_argument("--bug", choices=bugs.BUGS, help="with a deliberate bug in the product")
    parser.add_argument("--log", action="store_true", help="print the log of every seed")
    return parser.parse_args()


def one(options: argparse.Namespace) -> int:
    result = simulate(options.seed, print if options.verbose else None)
    if not options.verbose:
        print("\n".join(result.log[-30:]))
    print(f"seed {result.seed}: {result.events} events, {result.violation or 'no violation'}")
    return 1 if result.violation else 0


def many(options: argparse.Namespace) -> int:
    totals, began = Totals(), time.monotonic()
    shown = began
    for result in results(range(options.start, options.start + options.seeds), options.jobs):
        totals.add(result)
        if options.log:
            print(f"seed {result.seed}", *result.log, sep="\n")
        if result.violation and len(totals.violations) <= MOST_SHOWN:
            print(f"seed {result.seed}: {result.violation}\n  {REPLAY.format(seed=result.seed)}")
        if time.monotonic() - shown > PROGRESS:
            shown = time.monotonic()
            print(f"{totals.schedules} of {options.seeds}", file=sys.stderr, flush=True)
    report(totals, time.monotonic() - began)
    return 1 if totals.violations else 0


def results(seeds: range, jobs: int) -> Iterator[Result]:
    """In the order of the seeds."""
    if jobs == 1:
        yield from map(simulate, seeds)
        return
    documents.library()  # one for all: processes of a pool end without tidying up
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap(simulate, seeds, chunksize=4)


def report(totals: Totals, seconds: float) -> None:
    print(f"schedules     {totals.schedules} ({totals.schedules / seconds:.1f}/s)")
    print(f"events        {totals.events} ({totals.events / seconds:.0f}/s)")
    print(f"virtual time  {totals.hours:.1f} h in {seconds:.1f} s")
    print(f"faults        {totals.faults.total()}")
    for name, count in sorted(totals.faults.items(), key=lambda item: (-item[1], item[0])):
        print(f"  {name:24} {count}")
    print(f"violations    {len(totals.violations)}")
    for what, count in Counter(text.split(":")[0][:60] for _, text in totals.violations).items():
        print(f"  {what:24} {count}")


if __name__ == "__main__":
    main()
