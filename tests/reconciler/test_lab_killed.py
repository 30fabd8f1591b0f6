"""kill -9 of the reconciler amid 100 POSTs: whoever got no answer asks again, and has one machine."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2

PROGRAM = Path(sys.executable).with_name("iaas-reconciler")
LISTEN = ("--listen=127.0.0.1:0", "--health-listen=127.0.0.1:0")
MACHINES, CLIENTS, KILLS = 100, 4, 3
IMAGE = {"name": "nginx", "registry": "nginx@sha256:" + "0" * 64}


class Program:
    """Is killed and started again; each time at another port."""

    def __init__(self, where: Path) -> None:
        own = (f"--state={where}/r", f"--images={where}/i", f"--agent-token-file={where}/token")
        self.command = [str(PROGRAM), *own, *LISTEN]
        self.token = where / "r" / "token"
        self.url = ""

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        word, self.url = self.process.stdout.readline().split()
        assert word == "ready"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def client(self) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {self.token.read_text().strip()}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=10)


class Wishes:
    """Machines that several clients want, each asked for until there is an answer."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.left = list(range(MACHINES))
        self.made: dict[int, str] = {}
        self.lost = 0
        self.strange: list[str] = []
        self.lock = threading.Lock()

    def work(self) -> None:
        for number in iter(self._next, None):
            while not self._ask(number):
                self.lost += 1

    def _next(self) -> int | None:
        with self.lock:
            return self.left.pop() if self.left else None

    def _ask(self, number: int) -> bool:
        headers = {"Idempotency-Key": f"wish-{number}"}
        try:
            with self.program.client() as client:
                body = {"image": "nginx", "labels": {"wish": str(number)}}
                answer = client.post("/iaas/machines", json=body, headers=headers)
        except (httpx2.TransportError, OSError):
            time.sleep(0.02)
            return False
        if answer.status_code == 201:
            self.made[number] = answer.json()["id"]
        elif answer.status_code not in (429, 503):
            self.strange.append(answer.text)
        return answer.status_code not in (429, 503)


def test_kill_9_amid_100_creations_loses_none_and_doubles_none(tmp_path: Path) -> None:
    program = Program(tmp_path)
    program.start()
    try:
        with program.client() as client:
            assert client.post("/iaas/images", json=IMAGE).status_code == 201
        wishes = Wishes(program)
        threads = [threading.Thread(target=wishes.work) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for kill in range(1, KILLS + 1):
            while len(wishes.made) < kill * MACHINES // (KILLS + 2):
                time.sleep(0.002)
            program.kill()
            program.start()
        for thread in threads:
            thread.join()
        with program.client() as client:
            found = client.get("/iaas/machines").json()
    finally:
        program.kill()
    assert wishes.strange == []
    assert wishes.lost > 0, "it was never killed amid a request"
    assert {int(item["labels"]["wish"]): item["id"] for item in found} == wishes.made
    assert len(found) == MACHINES
