"""schemathesis against the running server: a real socket, a real store in a file, the loop at work."""

import re
import subprocess
import sys
from pathlib import Path

from manifests.kinds import KINDS
from reconciler.api import Server
from reconciler.core.sources import Source, State
from reconciler.store import Store
from tests.reconciler.looping import looping
from tests.reconciler.world import ADMIN, World, document, image, node

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
CONFIG = """
[checks.not_a_server_error]
# Bytes for which there is no room.
expected-statuses = ["2xx", "3xx", "4xx", "507"]

[checks.positive_data_acceptance]
# Schemas cannot say all: that fields fit each other (422), which version there is (412), how long the
# bytes are (416), that a key was used before (410), how long a body may be in all (413).
expected-statuses = ["2xx", "304", "401", "403", "404", "409", "410", "412", "413", "416", "422", "429"]

[checks.negative_data_rejection]
expected-statuses = ["400", "401", "404", "405", "409", "411", "412", "413", "415", "422", "429"]

[[operations]]
# How its three lengths fit each other is no matter of schemas.
include-operation-id = "putBlob"
checks.positive_data_acceptance.enabled = false
"""
LEAST_CASES = 1000


def test_no_input_brings_an_answer_that_is_not_described(tmp_path: Path) -> None:
    world = World(tmp_path, Store(tmp_path / "state.db"))
    world.upload()
    debian, used = image("debian"), document("Machine", "used", image="debian")
    world.desk.apply([debian, used, node("n1")], source="set:kept")
    world.sources.put(Source(name="dir:shop", path="/shop", state=State.WAITING, digest="d1"))
    server = Server(world.app, "127.0.0.1", 0, threads=8, on_stop=world.deps.close)
    with looping(world):
        server.start()
        try:
            found = run(tmp_path, "http://{}:{}".format(*server.address))
        finally:
            server.stop()
    assert found.returncode == 0, "\n".join(line[:500] for line in found.stdout.splitlines())
    cases = re.search(r"([0-9]+) generated", found.stdout)
    assert cases is not None, found.stdout
    assert int(cases[1]) >= LEAST_CASES, found.stdout
    # It got beyond refusals.
    told = {(item.event.kind, item.event.reason) for item in world.store.events(since=3)}
    assert {(kind, "Created") for kind in KINDS} <= told


def run(tmp_path: Path, url: str) -> subprocess.CompletedProcess[str]:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    command = [SCHEMATHESIS, "--no-color", "--config-file", config, "run", f"{url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {ADMIN}", "--seed", "1", "--max-examples", "15"]
    command += ["--workers", "2", "--continue-on-failure", "--warnings", "off"]
    # A busy machine is no fault of ours.
    command += ["--request-timeout", "60", "--suppress-health-check", "all"]
    return subprocess.run(
        list(map(str, command)), cwd=tmp_path, text=True, capture_output=True, timeout=280
    )
