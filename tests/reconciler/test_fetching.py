"""Images by URL: stored at once, fetched in the background, and waited for by their machines."""

import asyncio
import hashlib
import io
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from manifests.kinds.image import MachineType
from manifests.scalars import Cpus, Memory, Name
from manifests.wire import DriverReport, Report
from reconciler import fetching
from reconciler.core.model import NodeState, Seen
from reconciler.fetching import Fetcher
from reconciler.images.https import Https
from reconciler.loop import Loop
from tests.reconciler.control import within
from tests.reconciler.mirror import Mirror, Request, serving, trust
from tests.reconciler.world import VIEWER, World, create, document, machine, node

DATA = os.urandom(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
NEVER = 1000.0
AUTHORITY = trustme.CA()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("SSL_CERT_FILE", str(trust(AUTHORITY, tmp_path)))
    with serving(AUTHORITY, "127.0.0.1") as found:
        found.behaviour = lambda request: request.give(DATA)
        yield found


def image(
    mirror: Mirror, name: str = "disk", path: str = "/disk.img", **spec: Any
) -> dict[str, Any]:
    usual = {"type": "libvirt", "format": "raw", "sha256": SHA256}
    return document("Image", name, **usual | {"url": mirror.url(path, host="127.0.0.1")} | spec)


def shown(world: World, name: str = "disk") -> dict[str, Any]:
    found: dict[str, Any] = world.client().get(f"/iaas/images/{name}").json()
    return found


def state(world: World, name: str = "disk") -> str:
    return str(shown(world, name)["state"])


def words(world: World) -> list[tuple[str, str]]:
    return [
        (item.event.reason, item.event.message)
        for item in world.store.events(kind="Image")
        if item.event.reason.startswith("Fetch")
    ]


@asynccontextmanager
async def fetching_for(world: World, pause: float = NEVER) -> AsyncIterator[None]:
    fetcher = Fetcher(world.cluster, world.library, Https(["127.0.0.1"]), lambda: world.now, pause)
    task = asyncio.create_task(fetcher.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def play(world: World, scene: Callable[[], Awaitable[None]], pause: float = NEVER) -> None:
    async def run() -> None:
        async with fetching_for(world, pause):
            await scene()

    asyncio.run(run())


async def becomes(world: World, wanted: str, name: str = "disk") -> None:
    await within(10, lambda: state(world, name) == wanted)


def test_an_image_is_stored_at_once_and_its_machine_placed_when_the_bytes_are_here(
    world: World, mirror: Mirror
) -> None:
    gate = threading.Event()

    def gated(request: Request) -> None:
        gate.wait(10)
        request.give(DATA)

    mirror.behaviour = gated
    loop = Loop(world.cluster, world.term, lambda: world.now)
    ready_node(world)

    async def scene() -> None:
        world.desk.apply([image(mirror), machine("web")])
        assert (state(world), shown(world)["size"], shown(world)["ready"]) == ("fetching", 0, False)
        await within(10, lambda: mirror.asked)
        while loop.step():
            pass
        waiting = world.client().get("/iaas/machines/web").json()
        assert (waiting["state"], waiting["node"]) == ("pending", None)
        assert waiting["reason"] == "image disk is being fetched"
        gate.set()
        await becomes(world, "ready")
        while loop.step():
            pass

    play(world, scene)
    assert shown(world)["size"] == len(DATA)
    assert world.library.path(SHA256).read_bytes() == DATA
    assert [placed.wire.image.size for placed in world.store.snapshot().placements] == [len(DATA)]
    assert words(world) == [("Fetched", f"{len(DATA)} bytes from {shown(world)['origin']}")]


def ready_node(world: World) -> None:
    world.desk.apply([node("node1")])
    report = Report(
        node=Name("node1"),
        boot="b",
        revision=1,
        generation=1,
        cpus=Cpus(8000),
        memory=Memory(8192),
        drivers=(DriverReport(type=MachineType.LIBVIRT, ok=True, detail=""),),
    )
    world.cluster.see("node1", Seen(NodeState.READY, report))


def test_how_far_it_is_can_be_seen(
    world: World, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "SAY_SECONDS", 0.0)
    gate = threading.Event()

    def halfway(request: Request) -> None:
        request.head(200, Content_Length=str(len(DATA)))
        request.wfile.write(DATA[:1_500_000])
        gate.wait(10)
        request.wfile.write(DATA[1_500_000:])

    mirror.behaviour = halfway

    async def scene() -> None:
        world.desk.apply([image(mirror)])
        await within(10, lambda: "%" in shown(world)["reason"])
        percent = int(shown(world)["reason"].removesuffix(" %"))
        assert 30 < percent <= 50
        gate.set()
        await becomes(world, "ready")
        assert shown(world)["reason"] == ""

    play(world, scene)


def test_what_fails_is_tried_again_later(world: World, mirror: Mirror) -> None:
    mirror.behaviour = lambda request: request.head(503, Content_Length="0")

    async def scene() -> None:
        world.desk.apply([image(mirror)])
        await within(10, lambda: len(mirror.asked) >= 3)
        await becomes(world, "failed")
        assert shown(world)["reason"] == "127.0.0.1 answered 503 Service Unavailable"
        mirror.behaviour = lambda request: request.give(DATA)
        await becomes(world, "ready")

    play(world, scene, pause=0.05)
    assert [word for word, _ in words(world)] == ["FetchFailed", "Fetched"]


def test_pauses_grow_and_have_an_end(world: World, mirror: Mirror) -> None:
    pauses: list[float] = []
    mirror.behaviour = lambda request: request.head(404, Content_Length="0")

    async def scene() -> None:
        wait_for = asyncio.wait_for

        async def skip(waiting: Any, seconds: float) -> Any:
            pauses.append(seconds)
            return await wait_for(waiting, 0.001)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "wait_for", skip)
            world.desk.apply([image(mirror)])
            await within(10, lambda: len(pauses) >= 10)

    play(world, scene, pause=5.0)
    assert pauses[:10] == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]


def test_a_changed_object_is_tried_at_once(world: World, mirror: Mirror) -> None:
    def only_good(request: Request) -> None:
        request.give(DATA) if request.path == "/good" else request.head(404, Content_Length="0")

    mirror.behaviour = only_good

    async def scene() -> None:
        world.desk.apply([image(mirror)])
        await becomes(world, "failed")
        world.desk.apply([image(mirror, path="/good")])
        await becomes(world, "ready")

    play(world, scene)


@pytest.mark.parametrize("failing", [True, False])
def test_bytes_that_come_in_another_way_will_do(
    world: World, mirror: Mirror, failing: bool
) -> None:
    gate = threading.Event()

    def behaviour(request: Request) -> None:
        if not failing:
            gate.wait(10)
        request.head(404, Content_Length="0")

    mirror.behaviour = behaviour

    async def scene() -> None:
        world.desk.apply([image(mirror)])
        await within(10, lambda: mirror.asked)
        if failing:
            await becomes(world, "failed")
        else:
            gate.set()
            await becomes(world, "failed")
        answer = world.client().put(f"/iaas/blobs/{SHA256}", content=DATA)
        assert answer.status_code == 201
        await becomes(world, "ready")

    play(world, scene)
    assert len(mirror.asked) == 1


def test_bytes_that_are_here_are_not_fetched(world: World, mirror: Mirror) -> None:
    world.upload(DATA)
    world.desk.apply([image(mirror)])
    assert (state(world), shown(world)["size"]) == ("ready", len(DATA))
    answer = world.client().post("/iaas/apply", json={"documents": [image(mirror, format="qcow2")]})
    assert answer.status_code == 422

    async def scene() -> None:
        await asyncio.sleep(0.1)

    play(world, scene)
    assert mirror.asked == []


def test_what_was_fetched_and_is_something_else_is_not_used(world: World, mirror: Mirror) -> None:
    async def scene() -> None:
        world.desk.apply([image(mirror, format="qcow2"), image(mirror, "raw")])
        await becomes(world, "failed")
        await becomes(world, "ready", "raw")
        assert shown(world)["reason"].startswith("what was fetched is not a qcow2")
        assert shown(world)["size"] == 0
        world.desk.apply([image(mirror)])
        await becomes(world, "ready")

    play(world, scene)
    assert len(mirror.asked) == 1


def test_wrong_bytes_are_not_fetched_again_and_again(world: World, mirror: Mirror) -> None:
    mirror.behaviour = lambda request: request.give(DATA[::-1])

    async def scene() -> None:
        world.desk.apply([image(mirror)])
        await becomes(world, "failed")
        assert "the bytes have sha256" in shown(world)["reason"]
        await asyncio.sleep(0.3)

    play(world, scene, pause=0.01)
    assert len(mirror.asked) == 1
    assert list(world.library.root.iterdir()) == []


def test_the_same_bytes_are_fetched_once_from_whoever_has_them(
    world: World, mirror: Mirror
) -> None:
    def only_good(request: Request) -> None:
        request.give(DATA) if request.path == "/good" else request.head(404, Content_Length="0")

    mirror.behaviour = only_good

    async def scene() -> None:
        world.desk.apply([image(mirror, "a", "/bad"), image(mirror, "b", "/good")])
        await becomes(world, "ready", "a")
        await becomes(world, "ready", "b")

    play(world, scene, pause=0.05)
    assert [path for path, _ in mirror.asked] == ["/bad", "/good"]


def test_only_so_many_at_once(world: World, mirror: Mirror) -> None:
    gate = threading.Event()
    files = {f"/{number}": b"image %d" % number for number in range(7)}

    def gated(request: Request) -> None:
        gate.wait(10)
        request.give(files[request.path])

    mirror.behaviour = gated
    images = [
        image(mirror, f"i{path[1:]}", path, sha256=hashlib.sha256(data).hexdigest())
        for path, data in files.items()
    ]

    async def scene() -> None:
        world.desk.apply(images)
        await within(10, lambda: len(mirror.asked) == fetching.AT_ONCE)
        await asyncio.sleep(0.2)
        assert len(mirror.asked) == fetching.AT_ONCE
        assert shown(world, "i6")["reason"] == "waits for other downloads"
        gate.set()
        await becomes(world, "ready", "i6")

    play(world, scene)


def test_a_deleted_image_is_not_fetched_any_more(world: World, mirror: Mirror) -> None:
    gate = threading.Event()

    def endless(request: Request) -> None:
        request.head(200, Content_Length=str(10**7))
        while not gate.is_set():
            request.wfile.write(bytes(1000))
            time.sleep(0.01)

    mirror.behaviour = endless

    async def scene() -> None:
        world.desk.apply([image(mirror)])
        await within(10, lambda: mirror.asked)
        world.desk.delete([("Image", "disk")])
        assert state(world) == "deleting"
        await within(10, lambda: not world.library._writing)
        Loop(world.cluster, world.term, lambda: world.now).step()
        assert world.store.snapshot().get("Image", "disk") is None

    play(world, scene)
    gate.set()


def test_a_restart_goes_on_where_it_was(world: World, mirror: Mirror, tmp_path: Path) -> None:
    def stuck(request: Request) -> None:
        request.head(200, Content_Length=str(len(DATA)))
        request.wfile.write(DATA[:2_000_000])
        time.sleep(3)

    mirror.behaviour = stuck
    world.desk.apply([image(mirror)])

    async def begun() -> None:
        await within(10, lambda: world.library.kept(SHA256) > 0)

    play(world, begun)
    here = world.library.kept(SHA256)
    world.library.close()
    mirror.behaviour = lambda request: request.give(DATA)
    again = World(tmp_path, world.store)

    async def scene() -> None:
        await becomes(again, "ready")

    play(again, scene)
    assert mirror.asked[-1][1]["Range"] == f"bytes={here}-"


def test_a_full_disk_is_told_and_heals(world: World, mirror: Mirror) -> None:
    world.library.room.reserve = 1 << 60

    async def scene() -> None:
        world.desk.apply([image(mirror)])
        await becomes(world, "failed")
        assert "no room for 3000000 bytes" in shown(world)["reason"]
        assert list(world.library.root.iterdir()) == []
        world.library.room.reserve = 0
        await becomes(world, "ready")

    play(world, scene, pause=0.05)


def test_bytes_that_were_removed_by_hand_are_told_and_come_back(
    world: World, mirror: Mirror
) -> None:
    other = b"uploaded"
    digest = world.upload(other)
    world.upload(DATA)
    uploaded = document("Image", "mine", type="libvirt", format="raw", sha256=digest)
    world.desk.apply([image(mirror), uploaded])
    for sha256 in (SHA256, digest):
        world.library.path(sha256).unlink()

    async def scene() -> None:
        await within(10, lambda: world.library.has(SHA256))
        await becomes(world, "ready")
        assert state(world, "mine") == "failed"
        assert "hand them in again" in shown(world, "mine")["reason"]
        world.library.put(digest, io.BytesIO(other), len(other))
        world.cluster.signal.bump()
        await becomes(world, "ready", "mine")

    play(world, scene)


def test_the_query_of_a_signed_address_is_told_to_nobody_who_may_only_look(
    world: World, mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    mirror.behaviour = lambda request: request.head(403, Content_Length="0")
    path = "/disk.img?X-Signature=geheim"

    async def scene() -> None:
        with caplog.at_level("INFO", logger="reconciler"):
            world.desk.apply([image(mirror, path=path)])
            await becomes(world, "failed")
            world.desk.apply([image(mirror, path=path + "2")])
            await becomes(world, "failed")

    play(world, scene)
    client = world.client()
    viewer = world.client(token=VIEWER)
    told = [viewer.get(f"/iaas/{what}").text for what in ("images", "images/disk", "events")]
    told += [client.get("/iaas/audit").text, client.get("/iaas/events").text]
    assert "geheim" not in "".join(told) + caplog.text
    assert shown(world)["origin"] == mirror.url(host="127.0.0.1")
    assert mirror.asked[0][0] == path


def test_an_image_by_url_needs_its_digest(world: World, mirror: Mirror) -> None:
    data = image(mirror)
    del data["spec"]["sha256"]
    answer = world.client().post("/iaas/apply", json={"documents": [data]})
    assert (answer.status_code, answer.json()["faults"][0]["path"]) == (422, ["spec", "sha256"])


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/x",
        "file:///etc/shadow",
        "ftp://example.org/x",
        "gopher://example.org/x",
        "data:text/plain,x",
        "https://user:password@example.org/x",
        "https://example.org@evil.org/x",
        "https://example.org",
        "https://example.org/x#y",
        "https:///x",
        "https://[::1]/x",
        "https://example.org:99999/x y",
        "https://example.org\\@evil.org/",
        "https://example.org/\n",
        "HTTPS://example.org/x",
        "//example.org/x",
        "/etc/shadow",
        "",
    ],
)
def test_what_is_no_plain_https_url_is_refused_and_not_repeated(world: World, url: str) -> None:
    data = document("Image", "disk", type="libvirt", format="raw", sha256=SHA256, url=url)
    answer = world.client().post("/iaas/apply", json={"documents": [data]})
    assert (answer.status_code, answer.json()["faults"][0]["path"]) == (422, ["spec", "url"])
    assert "password" not in answer.text


def test_a_disk_that_fails_for_a_while_ends_nothing(
    world: World, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    has, failed = world.library.has, threading.Event()

    def failing(sha256: str) -> bool:
        failed.set()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(world.library, "has", failing)

    async def scene() -> None:
        # By hand: the desk would fail, too.
        change = create(7, image(mirror))
        world.store.submit([change], revision=world.store.snapshot().revision)
        world.cluster.signal.bump()
        await within(10, failed.is_set)
        monkeypatch.setattr(world.library, "has", has)
        await becomes(world, "ready")

    play(world, scene, pause=0.05)
