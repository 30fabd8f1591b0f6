"""Images that nobody uploads: fetched by the controller, which is killed meanwhile, or files of its host."""

import hashlib
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import trustme

from tests.e2e.conftest import Build, Labs
from tests.e2e.documents import Document, machine, node
from tests.e2e.lab import Lab
from tests.reconciler.mirror import Mirror, Request, serving, trust, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(100)]

AUTHORITY = trustme.CA()


@pytest.fixture(scope="module")
def mirror() -> Iterator[Mirror]:
    with serving(AUTHORITY, "127.0.0.1") as found:
        yield found


@pytest.fixture(scope="module")
def lab(labs: Labs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    found = labs("docker")
    root = tmp_path_factory.mktemp("sources")
    (found.dir / "srv").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(trust(AUTHORITY, root)))
        found.reconciler.again("--trust-url-host=127.0.0.1", f"--image-source={found.dir / 'srv'}")
        found.apply(node(found))
        yield found
        while names := list(found.machines()):
            found.ctl("delete", "machine", *names, "--approve", "--wait")


def by_url(mirror: Mirror, name: str, data: bytes, **spec: Any) -> Document:
    digest = hashlib.sha256(data).hexdigest()
    fetched = {"type": "docker", "url": mirror.url(host="127.0.0.1"), "sha256": digest}
    return {
        "apiVersion": "iaas/v1",
        "kind": "Image",
        "metadata": {"name": name},
        "spec": fetched | spec,
    }


def test_a_fetch_goes_on_after_the_controller_was_killed_and_the_machine_runs(
    lab: Lab, mirror: Mirror, build: Build
) -> None:
    data = build("fetched").read_bytes() + bytes(8 << 20)
    half, killed = len(data) // 2, threading.Event()

    def first_half(request: Request) -> None:
        request.head(200, Content_Length=str(len(data)))
        request.wfile.write(data[:half])
        killed.wait(60)

    mirror.behaviour = first_half
    stranger = lab.dir / "images" / "debian.iso"
    stranger.write_bytes(b"somebody's")
    path = lab.write(by_url(mirror, "app", data), machine("web", "app"), name="fetched")
    lab.ctl("apply", "-f", path)
    until(lambda: mirror.asked, 30)
    partial = lab.dir / "images" / f"{hashlib.sha256(data).hexdigest()}.part"
    until(lambda: partial.exists() and partial.stat().st_size, 30)
    assert lab.get("image", "app")["state"] == "fetching"
    assert "image app is being fetched" in lab.machine("web")["reason"]
    lab.reconciler.kill()
    kept = partial.stat().st_size
    killed.set()
    mirror.behaviour = lambda request: request.give(data)
    lab.reconciler.start()
    lab.ctl("apply", "-f", path, "--wait", "--timeout=60s")
    assert mirror.asked[-1][1]["Range"] == f"bytes={kept}-"
    assert (lab.machine("web")["state"], lab.get("image", "app")["size"]) == ("running", len(data))
    assert stranger.read_bytes() == b"somebody's"
    assert sorted(item.name for item in (lab.dir / "images").iterdir()) == sorted(
        [stranger.name, partial.stem]
    )


def test_a_file_of_the_controllers_host(lab: Lab, build: Build) -> None:
    file = lab.dir / "srv" / "app.tar"
    file.write_bytes(build("local").read_bytes())
    documents: list[Document] = [
        {
            "apiVersion": "iaas/v1",
            "kind": "Image",
            "metadata": {"name": "local"},
            "spec": {"type": "docker", "file": str(file)},
        },
        machine("from-file", "local"),
    ]
    headers = {"Authorization": f"Bearer {lab.token.read_text().strip()}"}
    client = httpx2.Client(base_url=f"http://127.0.0.1:{lab.api_port}", headers=headers)
    answer = client.post("/iaas/apply", json={"source": "set:local", "documents": documents})
    assert answer.status_code == 200, answer.text
    until(lambda: lab.machine("from-file")["ready"], 60)
    documents[0]["spec"]["file"] = "/etc/shadow"
    refused = client.post("/iaas/apply", json={"source": "set:local", "documents": documents})
    assert (refused.status_code, "--image-source" in refused.text) == (422, True)


def test_a_digest_that_is_wrong_is_told_and_its_machine_waits(lab: Lab, mirror: Mirror) -> None:
    mirror.behaviour = lambda request: request.give(b"something else")
    path = lab.write(by_url(mirror, "wrong", b"x"), machine("never", "wrong"), name="wrong")
    lab.ctl("apply", "-f", path)
    until(lambda: lab.get("image", "wrong")["state"] == "failed", 30)
    assert "cannot be fetched: the bytes have sha256" in lab.machine("never")["reason"]
    assert lab.events("image/wrong")[-1]["reason"] == "FetchFailed"
