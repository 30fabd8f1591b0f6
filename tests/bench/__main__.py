"""`make bench`: prints the table. Options: --rounds N (3), --counts 1,10,50, --idle SECONDS (30)."""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import docker

from tests.bench.floor import Floor
from tests.bench.ours import Ours
from tests.bench.swarm import Swarm

BUILD = Path(__file__).parents[2] / "examples" / "images" / "build-web"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--counts", default="1,10,50")
    parser.add_argument("--idle", type=float, default=30)
    options = parser.parse_args()
    counts = [int(text) for text in options.counts.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "web.tar"
        subprocess.run([sys.executable, BUILD, archive], check=True, stdout=subprocess.DEVNULL)
        bench(archive, counts, options.rounds, options.idle)


def bench(archive: Path, counts: list[int], rounds: int, idle: float) -> None:
    client = docker.from_env()
    (loaded,) = client.images.load(archive.read_bytes())
    image = str(loaded.id)
    rivals = [Floor(image), Swarm(image), Ours(archive)]
    floor, swarm, ours = rivals
    print("seconds: median (min-max); ratio of medians to the floor\n")
    print(f"{'':24}{'bare SDK, 4 threads':>26}{'Swarm':>34}{'iaasctl apply --wait':>34}")
    try:
        for count in counts:
            measure_count(count, rounds, floor, swarm, ours)
        measure_restart(rounds, floor, swarm, ours)
        ours.apply(50)
        print(f"\nidle with 50 machines: {ours.idle(idle):.2%} of a core, reconciler + agent")
    finally:
        for rival in reversed(rivals):
            rival.close()
        with contextlib.suppress(docker.errors.ImageNotFound):
            client.images.remove(image, force=True)
        client.close()


def measure_count(count: int, rounds: int, floor: Floor, swarm: Swarm, ours: Ours) -> None:
    created: list[list[float]] = [[], [], []]
    removed: list[list[float]] = [[], [], []]
    for _ in range(rounds):
        for index, rival in enumerate((floor, swarm)):
            created[index].append(rival.create(count))
            removed[index].append(rival.remove())
        created[2].append(ours.apply(count))
        removed[2].append(ours.apply(0))
    show(f"create {count}", created)
    show(f"remove {count}", removed)


def measure_restart(rounds: int, floor: Floor, swarm: Swarm, ours: Ours) -> None:
    seconds: list[list[float]] = [[], [], []]
    for _ in range(rounds):
        seconds[0].append(floor.restart())
        seconds[1].append(swarm.restart())
        ours.apply(1)
        seconds[2].append(ours.restart())
        ours.apply(0)
    show("killed -> running", seconds)


def show(name: str, rivals: list[list[float]]) -> None:
    base = statistics.median(rivals[0])
    cells = [
        f"{statistics.median(it):7.2f} ({min(it):.2f}-{max(it):.2f})"
        + (f" {statistics.median(it) / base:6.2f}x" if it is not rivals[0] else "")
        for it in rivals
    ]
    print(f"{name:24}{cells[0]:>26}{cells[1]:>34}{cells[2]:>34}", flush=True)


if __name__ == "__main__":
    main()
