"""The running program as a stranger meets it: bytes in at its socket, an answer out, and what it keeps.

What must be true of every refusal is here, once: `refused`. Not here: the cases (`manifests`, `rest`,
`images`).
"""

import http.client
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")
Kept = tuple[dict[str, list[Any]], list[str]]
"""The rows of all tables, and the names of all image files."""
PROGRAM = Path(sys.executable).with_name("iaas-reconciler")
SHAPE = {"error", "message", "field", "hint", "conflicts", "faults"}
ROLES = {"admin": "token", "operator": "operator.token", "viewer": "viewer.token"}
NOT_HERE = (501, 505, 507)
"""Codings, versions of HTTP and sizes that are refused for good; any other 5xx is a defect."""
SLOWEST = 5.0
"""Seconds, generous: this machine is shared. What was really needed is printed at the end."""
MOST_GROWTH = 100 << 20


@dataclass(frozen=True)
class Answer:
    """`status` is 0 where the connection ended without a word."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def said(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def fields(self) -> list[str]:
        """Those that the refusal names."""
        paths = [fault["path"] for fault in self.said["faults"]]
        return [self.said["field"], *(".".join(map(str, path)) for path in paths)]


@dataclass
class Tally:
    """What is told at the end of the session."""

    cases: dict[str, int] = field(default_factory=dict)
    longest: float = 0.0
    which: str = ""
    growth: dict[str, int] = field(default_factory=dict)

    def add(self, group: str, case: str, seconds: float) -> None:
        self.cases[group] = self.cases.get(group, 0) + 1
        if seconds > self.longest:
            self.longest, self.which = seconds, case

    def lines(self) -> Iterator[str]:
        parts = ", ".join(f"{group} {count}" for group, count in sorted(self.cases.items()))
        yield f"hostile inputs: {sum(self.cases.values())} cases ({parts})"
        yield f"longest answer: {self.longest * 1000:.0f} ms ({self.which})"
        for what, count in self.growth.items():
            yield f"{what}: {count / (1 << 20):.1f} MiB more memory at the end"


TALLY = Tally()


@dataclass
class Program:
    process: subprocess.Popen[str]
    root: Path
    url: str

    @property
    def address(self) -> tuple[str, int]:
        where = urlsplit(self.url)
        return where.hostname or "", where.port or 0

    @property
    def images(self) -> Path:
        return self.root / "images"

    def token(self, role: str = "admin") -> str:
        return (self.root / "state" / ROLES[role]).read_text().strip()

    @property
    def secrets(self) -> set[str]:
        return {self.token(role) for role in ROLES} | {
            (self.root / "agent.token").read_text().strip()
        }

    def ask(
        self, method: str, path: str, body: bytes | Any = b"", role: str = "admin", **headers: str
    ) -> Answer:
        """What a well-behaved client would send; other bodies than bytes as JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent.setdefault("Authorization", f"Bearer {self.token(role)}")
        if not isinstance(body, bytes):
            body, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        start = time.monotonic()
        with closing(http.client.HTTPConnection(*self.address, timeout=30)) as connection:
            # A refusal may come, and the connection go, before all of a body is out.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body or None, sent)
            answer = connection.getresponse()
            data = answer.read()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, data, time.monotonic() - start)

    def exchange(self, data: bytes) -> Answer:
        """The first answer to these bytes; `@TOKEN@` stands for the admin's."""
        data = data.replace(b"@TOKEN@", self.token().encode())
        start = time.monotonic()
        with socket.create_connection(self.address, timeout=30) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(data)
            answer = http.client.HTTPResponse(connection)
            try:
                answer.begin()
                body = answer.read()
            except (ConnectionResetError, http.client.BadStatusLine):
                return Answer(0, {}, b"", time.monotonic() - start)
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, body, time.monotonic() - start)

    def kept(self) -> Kept:
        """All that it has stored but for its notes of refusals, and the names of its images."""
        with closing(
            sqlite3.connect(f"file:{self.root}/state/state.db?mode=ro", uri=True)
        ) as store:
            tables = [
                name
                for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                if name != "sqlite_sequence"
            ]
            rows = {
                name: store.execute(
                    f"SELECT * FROM {name}" + (" WHERE NOT refused" if name == "audit" else "")
                ).fetchall()
                for name in tables
            }
        return rows, sorted(os.listdir(self.images))

    @property
    def memory(self) -> int:
        return memory_of(self.process.pid)

    def refused(self, group: str, case: str, answer: Answer, before: Kept, word: str) -> None:
        """Whatever was sent: the one shape, the word, no traceback, no secret, no trace, soon."""
        TALLY.add(group, case, answer.seconds)
        assert answer.headers["content-type"] == "application/json"
        assert isinstance(json.loads(answer.body), dict), answer
        assert set(answer.said) == SHAPE
        assert 400 <= answer.status < 500 or answer.status in NOT_HERE, answer
        said = answer.body.decode()
        assert word in json.dumps(answer.said, ensure_ascii=False), said
        assert "Traceback" not in said
        assert 'File \\"' not in said
        assert not any(secret in said for secret in self.secrets)
        assert len(said) < 200_000
        assert self.kept() == before
        assert answer.seconds < SLOWEST


def timed(act: Callable[[], T]) -> tuple[T, float]:
    start = time.monotonic()
    return act(), time.monotonic() - start


def memory_of(pid: int | str = "self") -> int:
    """Bytes of it that are in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def running(root: Path, *options: str, **environ: str) -> Iterator[Program]:
    """The program; what it logged is in `root`/log."""
    with (root / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *(str(PROGRAM), "--listen=127.0.0.1:0", "--health-listen=127.0.0.1:0"),
                *(f"--state={root}/state", f"--images={root}/images"),
                *(f"--agent-token-file={root}/agent.token", *options),
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | environ,
        )
        with process:
            try:
                assert process.stdout is not None
                ready = process.stdout.readline().split()
                assert ready[:1] == ["ready"], (root / "log").read_text()
                process.stdout.readline()
                yield Program(process, root, ready[1])
                assert process.poll() is None, "it did not survive"
            finally:
                process.terminate()
                process.wait(20)
