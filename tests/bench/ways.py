"""Ways to a server, and what is measured of them: see `load.py`, which does it where the client is."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

LOAD = (sys.executable, "-I", "-S", str(Path(__file__).with_name("load.py")))
DIRECT = "direct"
STREAM, ONE, MANY = "stream, Gbit/s", "new connections/s, 1 client", "16 clients"
CLIENTS = {ONE: 1, MANY: 16}
ABANDONED = 5
TIMEOUT = 30


@dataclass(frozen=True)
class Way:
    """`inside`: what the client's command line begins with. `echo`: the server names each path."""

    origin: str
    publisher: str
    address: str
    port: int
    inside: tuple[str, ...] = ()
    echo: bool = True


@dataclass
class Row:
    """What came of a way in each round, by measure."""

    way: Way
    values: dict[str, list[float]] = field(default_factory=dict)
    right: int = 0
    mixed: int = 0
    lost: int = 0
    after: tuple[int, int, int] = (0, 0, 0)
    """Right, mixed and lost of the requests that followed an abandoned page."""

    def measure(self, name: str, seconds: float) -> None:
        more = () if name == STREAM else (CLIENTS[name], int(self.way.echo))
        verb = "stream" if name == STREAM else "connect"
        right, mixed, lost, rate = self._run(verb, seconds, *more)
        self.right += int(right)
        self.mixed += int(mixed)
        self.lost += int(lost)
        self.values.setdefault(name, []).append(rate * 8e-9 if name == STREAM else rate)

    def follow_abandoned(self) -> None:
        right, mixed, lost, _ = self._run("abandon", ABANDONED, int(self.way.echo))
        self.after = (int(right), int(mixed), int(lost))

    def answers(self) -> bool:
        return self._run("connect", 0, 1, int(self.way.echo))[0] > 0

    def _run(self, verb: str, *words: float) -> list[float]:
        way = self.way
        command = (*way.inside, *LOAD, verb, way.address, str(way.port), *map(str, words))
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        if done.returncode:
            raise RuntimeError(f"{way}: {done.stderr}")
        return [float(word) for word in done.stdout.split()]


@dataclass
class Group:
    """Ways to one server; `prepare` makes them usable."""

    title: str
    ways: list[Way]
    prepare: Callable[[], None] = lambda: None

    def measured(self, rounds: int, seconds: float) -> list[Row]:
        self.prepare()
        for way in self.ways:  # none begins cold, or before its publisher is there
            Row(way).measure(ONE, seconds)
        rows = [Row(way) for way in self.ways]
        for _ in range(rounds):
            for name in (STREAM, *CLIENTS):
                for row in rows:
                    row.measure(name, seconds)
        for row in rows:  # last: pwncat does not recover at once
            row.follow_abandoned()
        return rows


@contextmanager
def server(inside: tuple[str, ...], port: int) -> Iterator[None]:
    """The fast one."""
    command = [*inside, *LOAD, "serve", str(port), "2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        if program.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{command} does not serve")
        try:
            yield
        finally:
            program.communicate()
