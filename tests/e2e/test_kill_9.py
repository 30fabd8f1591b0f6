"""kill -9 of the reconciler while it takes in an image and while it takes in machines: what it has
acknowledged is there, once and whole, and nothing else is visible."""

import filecmp
import json
import os
import random
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from iaasctl import Client
from iaasctl.errors import Conflict, Unreachable
from tests.e2e.control import add_image, control_plane
from tests.e2e.lab import BIN, Lab
from tests.e2e.ports import until

pytestmark = pytest.mark.timeout(150)

MIB = 1 << 20
SIZE = 1024 * MIB
ADDS, LOOPS, KILLS = 100, 4, 3
FIRST_PORT = 31_000
LEAST_MIB = 64


@pytest.fixture
def lab() -> Iterator[Lab]:
    with control_plane() as made:
        yield made


# -- img add ---------------------------------------------------------------------------------------


def test_while_an_image_of_1_gib_is_uploaded(lab: Lab) -> None:
    """Twice. `img add` goes on by itself after the first; the second time it is killed, too, and
    then the same command, typed again, sends what is missing."""
    file = lab.dir / "big.raw"
    unlike_any_other(file)
    began = time.monotonic()
    upload = img_add(lab, file)
    killed_at = [kill_amid_upload(lab, 200 * MIB)]
    assert upload.poll() is None
    lab.reconciler.start()
    nothing_visible(lab)
    killed_at.append(kill_amid_upload(lab, killed_at[0] + 200 * MIB))
    upload.kill()
    upload.communicate()
    lab.reconciler.start()
    nothing_visible(lab)
    again = img_add(lab, file)
    _, said = again.communicate(timeout=60)
    took = time.monotonic() - began
    assert (again.returncode, said.splitlines()[-1]) == (0, "image/big ready: raw"), said
    (image,) = lab.get("images")
    assert (image["size"], image["state"]) == (SIZE, "ready")
    (stored,) = contents(lab)
    assert stored.name == image["sha256"]
    assert filecmp.cmp(file, stored, shallow=False)
    print(f"killed with {[at // MIB for at in killed_at]} MiB there; whole after {took:.1f} s")


def unlike_any_other(path: Path) -> None:
    """A sparse file of SIZE with random bytes in every 64 MiB."""
    with path.open("wb") as file:
        file.truncate(SIZE)
        for at in range(0, SIZE, 64 * MIB):
            file.seek(at)
            file.write(os.urandom(4096))


def img_add(lab: Lab, file: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [BIN / "iaasctl", "img", "add", "big", file],
        env=os.environ | lab.environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_amid_upload(lab: Lab, least: int) -> int:
    """Once more than `least` bytes have come; how many have. Only a part is there then."""
    until("bytes have come", lambda: sum(it.stat().st_size for it in contents(lab)) > least)
    lab.reconciler.kill()
    (part,) = contents(lab)
    assert part.suffix == ".part"
    assert part.stat().st_size < SIZE
    return part.stat().st_size


def nothing_visible(lab: Lab) -> None:
    assert lab.ctl("img", "ls", "-o", "name").out == ""
    assert [it.suffix for it in contents(lab)] == [".part"]


def contents(lab: Lab) -> list[Path]:
    """Of the image directory, without its lock."""
    return [it for it in (lab.dir / "images").iterdir() if not it.name.startswith(".")]


# -- vm add ----------------------------------------------------------------------------------------


class Adding:
    """Loops of `vm add` side by side. The memory of each machine tells which call made it."""

    def __init__(self) -> None:
        self.acknowledged: dict[int, dict[str, Any]] = {}
        self.unanswered: list[int] = []
        self._lock = threading.Lock()

    def loop(self, client: Client, numbers: range) -> None:
        with client:
            for number in numbers:
                self._add(client, number)

    def _add(self, client: Client, number: int) -> None:
        ports = [f"{FIRST_PORT + number}:80"]
        try:
            made = client.add_machine("nginx", node="n1", mem=LEAST_MIB + number, ports=ports)
        except Unreachable:
            with self._lock:
                self.unanswered.append(number)
            return
        with self._lock:
            self.acknowledged[number] = made

    @property
    def done(self) -> int:
        return len(self.acknowledged) + len(self.unanswered)


@pytest.mark.parametrize("seed", range(2))
def test_while_a_hundred_machines_are_added(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Four loops of 25 calls of the client library, and three kills at random moments.

    The node's agent does not run: the machines stay pending, since this is about what the desk
    acknowledges and the store keeps.
    """
    for name, value in lab.environment.items():
        monkeypatch.setenv(name, value)
    add_image(lab)
    moments = sorted(random.Random(seed).sample(range(5, ADDS - 10), KILLS))
    adding, each = Adding(), ADDS // LOOPS
    began = time.monotonic()
    with ThreadPoolExecutor(LOOPS) as pool:
        loops = [
            pool.submit(adding.loop, Client.connect(), range(at, at + each))
            for at in range(0, ADDS, each)
        ]
        for moment in moments:
            until(f"{moment} calls are done", lambda moment=moment: adding.done >= moment)
            lab.reconciler.kill()
            lab.reconciler.start()
        for loop in loops:
            loop.result()
    took = time.monotonic() - began
    stored = lab.get("machines")
    print(
        f"killed after {moments} calls: {len(adding.acknowledged)} acknowledged,"
        f" {len(adding.unanswered)} unanswered, {len(stored)} stored; {took:.1f} s"
    )
    nothing_lost_or_doubled(adding, stored)
    ports_are_held(lab, stored)
    assert lab.reconciler.end() == 0
    whole_on_disk(lab.dir / "r" / "state.db", stored)


def nothing_lost_or_doubled(adding: Adding, stored: list[dict[str, Any]]) -> None:
    assert adding.done == ADDS
    ids = {item["mem"] - LEAST_MIB: item["id"] for item in stored}
    assert len(ids) == len(stored), "two machines of one call"
    lost = {n: it for n, it in adding.acknowledged.items() if ids.get(n) != it["id"]}
    assert not lost
    assert set(ids) - set(adding.acknowledged) <= set(adding.unanswered)
    for number, item in ((it["mem"] - LEAST_MIB, it) for it in stored):
        assert (item["image"], item["node"], item["state"]) == ("nginx", "n1", "pending")
        assert item["ports"] == [f"{FIRST_PORT + number}:80/tcp"]


def ports_are_held(lab: Lab, stored: list[dict[str, Any]]) -> None:
    """Each by the machine that shows it, and by nobody else."""
    with Client.connect() as client:
        for item in stored:
            port = item["ports"][0].removesuffix("/tcp")
            with pytest.raises(Conflict, match="nothing was changed") as refused:
                client.add_machine("nginx", node="n1", ports=[port])
            assert f"is taken by machine {item['name']}" in refused.value.why
    assert len(lab.get("machines")) == len(stored)


def whole_on_disk(path: Path, stored: list[dict[str, Any]]) -> None:
    """Every machine has its event, its line of the audit and its key: one transaction made them."""
    ids = {item["id"]: 1 for item in stored}
    names = {json.dumps([f"machine/{item['name']}"]): 1 for item in stored}
    created = "SELECT uid FROM event WHERE kind = 'Machine' AND reason = 'Created'"
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        for query in (
            "SELECT uid FROM object WHERE kind = 'Machine'",
            "SELECT uid FROM key_use WHERE kind = 'Machine'",
            created,
        ):
            assert Counter(uid for (uid,) in database.execute(query)) == ids, query
        audited = "SELECT objects FROM audit WHERE path = '/iaas/machines' AND refused = 0"
        assert Counter(found for (found,) in database.execute(audited)) == names
