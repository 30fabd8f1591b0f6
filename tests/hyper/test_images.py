"""The image cache against a real HTTP server."""

import hashlib
import io
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from hyper import download
from hyper.core.model import Stock
from hyper.download import ImageError, Source
from hyper.images import ImageCache, NoRoom
from manifests.kinds.image import ImageFormat, MachineType
from manifests.scalars import Sha256
from manifests.wire import ImageRef
from tests.docker_images import tar

DATA = os.urandom(300_000)
DOCKER, LIBVIRT = MachineType.DOCKER, MachineType.LIBVIRT
Answer = Callable[[BaseHTTPRequestHandler], None]


def reference(data: bytes, format_: ImageFormat = ImageFormat.RAW) -> ImageRef:
    digest = Sha256(hashlib.sha256(data).hexdigest())
    return ImageRef(sha256=digest, format=format_, size=len(data))


def body(data: bytes, length: int | None = None) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        if length is None:
            request.send_header("Content-Length", str(len(data)))
        elif length >= 0:
            request.send_header("Content-Length", str(length))
        request.end_headers()
        request.wfile.write(data)

    return answer


class Server:
    def __init__(self) -> None:
        self.answer = body(DATA)
        self.seen: list[tuple[str, str | None]] = []
        self.asked: list[tuple[str, str | None]] = []
        """Paths and ranges."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen.append((self.path, self.headers["Authorization"]))
                outer.asked.append((self.path, self.headers["Range"]))
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self.http.server_port}/images"
        self.thread = threading.Thread(target=self.http.serve_forever, args=[0.01])
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    return ImageCache(tmp_path / "images")


def ranged(data: bytes) -> Answer:
    """As the controller answers."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers["Range"]
        if wanted is None:
            return body(data)(request)
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        request.send_response(206 if start < len(data) else 416)
        end = f"{start}-{len(data) - 1}" if start < len(data) else "*"
        request.send_header("Content-Range", f"bytes {end}/{len(data)}")
        request.send_header("Content-Length", str(max(len(data) - start, 0)))
        request.end_headers()
        request.wfile.write(data[start:])
        return None

    return answer


def left(tmp_path: Path) -> list[str]:
    """What there is but for cards."""
    names = sorted(os.listdir(tmp_path / "images"))
    return [name for name in names if not name.endswith((".docker", ".libvirt"))]


def fetch(cache: ImageCache, image: ImageRef, url: str, token: str = "") -> Path:
    cache.note(DOCKER, image)
    return cache.fetch(image, Source(url, token))


def test_an_image_is_fetched_verified_and_named_by_its_digest(
    cache: ImageCache, server: Server, tmp_path: Path
) -> None:
    image = reference(DATA)
    assert cache.path(image) is None

    path = fetch(cache, image, server.url, "secret")

    assert path == cache.path(image) == tmp_path / "images" / image.sha256
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o7777 == 0o600
    assert path.parent.stat().st_mode & 0o7777 == 0o711
    assert server.seen == [(f"/images/{image.sha256}", "Bearer secret")]
    assert left(tmp_path) == [image.sha256]


def test_what_is_here_is_not_fetched_again(cache: ImageCache, server: Server) -> None:
    fetch(cache, reference(DATA), server.url, "")

    fetch(cache, reference(DATA), server.url, "")

    assert len(server.seen) == 1


def test_callers_at_once_share_one_download(cache: ImageCache, server: Server) -> None:
    go = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        assert go.wait(30)
        body(DATA)(request)

    server.answer = answer
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(fetch, cache, reference(DATA), server.url) for _ in range(8)]
        go.set()
        paths = {each.result() for each in asked}

    assert paths == {cache.path(reference(DATA))}
    assert len(server.seen) == 1


def test_callers_at_once_share_one_failure_and_the_next_tries_again(
    cache: ImageCache, server: Server
) -> None:
    go = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        assert go.wait(30)
        request.send_error(503)

    server.answer = answer
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(fetch, cache, reference(DATA), server.url) for _ in range(2)]
        go.set()
        assert all(isinstance(each.exception(), ImageError) for each in asked)

    server.answer = body(DATA)
    assert fetch(cache, reference(DATA), server.url, "").read_bytes() == DATA


def redirect(request: BaseHTTPRequestHandler) -> None:
    request.send_response(302)
    request.send_header("Location", "/elsewhere")
    request.end_headers()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (body(DATA[:-1]), "299999 bytes instead of 300000"),
        (body(DATA + b"x"), "300001 bytes instead of 300000"),
        (body(DATA + b"x", length=-1), "more than 300000 bytes"),
        (body(DATA[:-1] + bytes([DATA[-1] ^ 1])), "another digest"),
        (lambda request: request.send_error(404), "answers 404"),
        (lambda request: request.send_error(500), "answers 500"),
        (redirect, "answers 302"),
        (lambda request: request.wfile.write(b"SSH-2.0\r\n\r\n"), "cannot be fetched"),
        (lambda request: request.wfile.close(), "cannot be fetched"),
    ],
)
def test_what_is_not_the_image_leaves_nothing_behind(
    cache: ImageCache, server: Server, tmp_path: Path, answer: Answer, message: str
) -> None:
    server.answer = answer

    with pytest.raises(ImageError, match=message) as caught:
        fetch(cache, reference(DATA), server.url, "secret")

    assert "secret" not in str(caught.value)
    assert cache.path(reference(DATA)) is None
    assert left(tmp_path) == []
    assert len(server.seen) == 1


def test_an_endless_body_ends_at_the_declared_size(
    cache: ImageCache, server: Server, tmp_path: Path
) -> None:
    ended = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            while True:
                request.wfile.write(bytes(100_000))
        except OSError:
            ended.set()

    server.answer = answer
    with pytest.raises(ImageError, match="more than"):
        fetch(cache, reference(DATA), server.url, "")

    assert ended.wait(30)
    assert left(tmp_path) == []


def test_a_body_that_trickles_is_given_up(
    cache: ImageCache, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PATIENCE", -1e9)

    with pytest.raises(ImageError, match="too slowly"):
        fetch(cache, reference(DATA), server.url, "")

    assert left(tmp_path) == []


def test_a_server_that_falls_silent_is_given_up(
    cache: ImageCache, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    done = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        body(DATA[:1000], length=len(DATA))(request)
        done.wait(30)

    server.answer = answer
    with pytest.raises(ImageError, match="timed out"):
        fetch(cache, reference(DATA), server.url, "")
    done.set()

    assert part(tmp_path).read_bytes() == DATA[:1000]


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc",
        "ftp://127.0.0.1/x",
        "data:,x",
        "http://good@127.0.0.1/x",
        "http://",
        "",
        "http://[::1",
        "http://127.0.0.1:99999999",
    ],
)
def test_other_addresses_are_refused(cache: ImageCache, tmp_path: Path, url: str) -> None:
    with pytest.raises(ImageError):
        fetch(cache, reference(DATA), url, "")

    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "host",
    ["192.0.2.1", "controller.lab", "127.0.0.1.evil.example", "localhost.evil", "[2001:db8::1]"],
)
def test_the_token_does_not_go_over_a_network_in_the_clear(
    cache: ImageCache, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(download, "_OPENER", None)  # nothing may be sent

    with pytest.raises(ImageError, match="token over plain http only to loopback"):
        fetch(cache, reference(DATA), f"http://{host}:7700/images", "secret")


@pytest.mark.parametrize("url", ["http://localhost:1", "http://[::1]:1", "https://127.0.0.1:1"])
def test_the_token_goes_to_this_host_or_under_tls(cache: ImageCache, url: str) -> None:
    with pytest.raises(ImageError, match=r"refused|Cannot assign"):
        fetch(cache, reference(DATA), url, "secret")


def test_a_download_ends_with_the_agent(cache: ImageCache, server: Server, tmp_path: Path) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        body(DATA[:1000], length=len(DATA))(request)
        cache.closing.set()
        request.wfile.write(DATA[1000:])

    server.answer = answer
    with pytest.raises(ImageError, match="the agent is ending"):
        fetch(cache, reference(DATA), server.url, "")

    assert cache.path(reference(DATA)) is None


def test_a_directory_that_others_could_list_is_closed(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images").chmod(0o755)

    ImageCache(tmp_path / "images")

    assert (tmp_path / "images").stat().st_mode & 0o777 == 0o711


def test_a_server_that_is_not_there(cache: ImageCache) -> None:
    with pytest.raises(ImageError, match="refused"):
        fetch(cache, reference(DATA), "http://127.0.0.1:1/images", "")


@pytest.mark.parametrize(
    ("format_", "message"),
    [(ImageFormat.QCOW2, "not a qcow2"), (ImageFormat.DOCKER_ARCHIVE, "not an uncompressed tar")],
)
def test_bytes_that_are_not_of_the_declared_format_are_refused(
    cache: ImageCache, server: Server, tmp_path: Path, format_: ImageFormat, message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        fetch(cache, reference(DATA, format_), server.url, "")

    assert left(tmp_path) == []


def test_a_docker_archive_is_accepted(cache: ImageCache, server: Server) -> None:
    data = tar([("manifest.json", b"[]")])
    server.answer = body(data)

    path = fetch(cache, reference(data, ImageFormat.DOCKER_ARCHIVE), server.url, "")

    assert path.read_bytes() == data


def part(tmp_path: Path) -> Path:
    return tmp_path / "images" / f"{reference(DATA).sha256}.part"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (body(DATA[:1000], length=len(DATA)), "only 1000 of 300000 bytes"),
        (body(DATA[:1000], length=-1), "only 1000 of 300000 bytes"),
    ],
)
@pytest.mark.parametrize("restart", [False, True])
def test_a_broken_download_goes_on_where_it_ended(
    cache: ImageCache,
    server: Server,
    tmp_path: Path,
    answer: Answer,
    message: str,
    restart: bool,
) -> None:
    server.answer = answer
    with pytest.raises(ImageError, match=message):
        fetch(cache, reference(DATA), server.url, "")
    assert cache.path(reference(DATA)) is None
    assert part(tmp_path).read_bytes() == DATA[:1000]

    server.answer = ranged(DATA)
    after = ImageCache(tmp_path / "images") if restart else cache
    assert fetch(after, reference(DATA), server.url, "").read_bytes() == DATA

    assert [wanted for *_, wanted in server.asked] == [None, "bytes=1000-"]
    assert left(tmp_path) == [reference(DATA).sha256]


@pytest.mark.parametrize(
    ("kept", "asked"),
    [
        (b"x" * 1000, ["bytes=1000-", None]),
        (DATA[:-2] + bytes([DATA[-2] ^ 1]), ["bytes=299999-", None]),
        (bytes([DATA[0] ^ 1]) + DATA[1:], [None]),
        (DATA + b"x", [None]),
        (DATA, []),
    ],
)
def test_what_was_kept_counts_only_if_the_whole_is_the_image(
    cache: ImageCache, server: Server, tmp_path: Path, kept: bytes, asked: list[str | None]
) -> None:
    """Such as after a loss of power. Dropped whole, and fetched anew once."""
    server.answer = ranged(DATA)
    part(tmp_path).write_bytes(kept)

    assert fetch(cache, reference(DATA), server.url, "").read_bytes() == DATA

    assert [wanted for *_, wanted in server.asked] == asked
    assert left(tmp_path) == [reference(DATA).sha256]


def test_a_server_with_other_bytes_is_asked_anew_once(
    cache: ImageCache, server: Server, tmp_path: Path
) -> None:
    server.answer = ranged(bytes(len(DATA)))
    part(tmp_path).write_bytes(DATA[:1000])

    with pytest.raises(ImageError, match="another digest"):
        fetch(cache, reference(DATA), server.url, "")

    assert [wanted for *_, wanted in server.asked] == ["bytes=1000-", None]
    assert left(tmp_path) == []


def test_a_server_that_does_not_resume_sends_all(
    cache: ImageCache, server: Server, tmp_path: Path
) -> None:
    part(tmp_path).write_bytes(bytes(1000))

    assert fetch(cache, reference(DATA), server.url, "").read_bytes() == DATA

    assert len(server.asked) == 1


@pytest.mark.parametrize("answered", ["bytes 0-299999/300000", "bytes 1000-1999/300000", ""])
def test_another_part_than_asked_for_is_not_taken(
    cache: ImageCache, server: Server, tmp_path: Path, answered: str
) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        if not request.headers["Range"]:
            return body(DATA)(request)
        request.send_response(206)
        if answered:
            request.send_header("Content-Range", answered)
        request.end_headers()
        request.wfile.write(DATA[1000:])
        return None

    server.answer = answer
    part(tmp_path).write_bytes(DATA[:1000])

    assert fetch(cache, reference(DATA), server.url, "").read_bytes() == DATA

    assert [wanted for *_, wanted in server.asked] == ["bytes=1000-", None]


def test_a_server_that_is_away_takes_nothing_of_what_was_kept(
    cache: ImageCache, tmp_path: Path
) -> None:
    part(tmp_path).write_bytes(DATA[:1000])

    with pytest.raises(ImageError, match="refused"):
        fetch(cache, reference(DATA), "http://127.0.0.1:1/images", "")

    assert part(tmp_path).read_bytes() == DATA[:1000]


def test_a_file_of_another_size_is_not_the_image(cache: ImageCache, tmp_path: Path) -> None:
    image = reference(DATA)
    (tmp_path / "images" / image.sha256).write_bytes(DATA[:-1])

    assert cache.path(image) is None


# -- what is here


def kept(tmp_path: Path, data: bytes, type_: MachineType, *, limit: int | None = None) -> ImageRef:
    """An image that was fetched and prepared before."""
    cache, image = ImageCache(tmp_path / "images", limit), reference(data)
    (tmp_path / "images" / image.sha256).write_bytes(data)
    cache.hold(type_, image, 7)
    return image


def test_a_later_agent_knows_what_is_here_the_least_recently_prepared_first(
    cache: ImageCache, server: Server, tmp_path: Path
) -> None:
    one, two = kept(tmp_path, b"one", DOCKER), kept(tmp_path, b"two", LIBVIRT)
    server.answer = body(DATA[:1000], length=len(DATA))
    with pytest.raises(ImageError):
        fetch(cache, reference(DATA), server.url)
    cache.hold(DOCKER, one, 8)

    after = ImageCache(tmp_path / "images")

    assert after.stock() == (
        Stock(type=LIBVIRT, image=two, held=10, ready=True),
        Stock(type=DOCKER, image=reference(DATA), held=1000, ready=False),
        Stock(type=DOCKER, image=one, held=11, ready=True),
    )
    assert after.stock_of(LIBVIRT, two) == after.stock()[0]
    assert after.stock_of(DOCKER, two) is None


def test_what_is_prepared_but_without_its_bytes_is_not_ready(tmp_path: Path) -> None:
    image = kept(tmp_path, b"one", DOCKER)
    (tmp_path / "images" / image.sha256).unlink()

    (found,) = ImageCache(tmp_path / "images").stock()

    assert (found.held, found.ready) == (7, False)


def test_the_bytes_go_with_the_last_engine_that_has_them(cache: ImageCache, tmp_path: Path) -> None:
    image = kept(tmp_path, b"one", DOCKER)
    cache.hold(LIBVIRT, image, 0)

    cache.drop(DOCKER, image)
    assert cache.path(image) is not None
    assert [it.type for it in cache.stock()] == [LIBVIRT]
    cache.drop(LIBVIRT, image)

    assert os.listdir(tmp_path / "images") == []
    cache.drop(LIBVIRT, image)


def test_what_came_of_an_image_goes_with_it(
    cache: ImageCache, server: Server, tmp_path: Path
) -> None:
    server.answer = body(DATA[:1000], length=len(DATA))
    with pytest.raises(ImageError):
        fetch(cache, reference(DATA), server.url)

    cache.drop(DOCKER, reference(DATA))

    assert os.listdir(tmp_path / "images") == []


def test_bytes_without_a_card_are_kept_for_vms_and_what_is_no_image_goes(tmp_path: Path) -> None:
    """A VM's disk may rest on them; and power may go at any moment."""
    directory = tmp_path / "images"
    directory.mkdir()
    (directory / ("a" * 64)).write_bytes(b"base")
    (directory / ("b" * 64)).write_bytes(b"archive")
    (directory / f"{'b' * 64}.docker").write_text('{"type": "docker"')
    (directory / f"{'c' * 64}.part").write_bytes(b"half")
    (directory / f"{'d' * 64}.docker.new").touch()
    (directory / "notes.txt").touch()

    found = ImageCache(directory).stock()

    assert {(it.type, it.image.sha256[0], it.held) for it in found} == {
        (LIBVIRT, "a", 4),
        (LIBVIRT, "b", 7),
    }
    assert left(tmp_path) == ["a" * 64, "b" * 64, "notes.txt"]


# -- room


def test_an_image_for_which_there_is_no_room_is_not_fetched(server: Server, tmp_path: Path) -> None:
    kept(tmp_path, bytes(1000), LIBVIRT)
    cache = ImageCache(tmp_path / "images", limit=300_000)

    with pytest.raises(NoRoom, match=r"needs 293 KiB, 292 KiB free in the image cache") as told:
        fetch(cache, reference(DATA), server.url)

    assert (told.value.lack.needs, told.value.lack.free) == (300_000, 298_993)
    assert (server.seen, cache.short(), left(tmp_path)) == ([], 0, [reference(bytes(1000)).sha256])


def test_what_came_before_needs_no_room(cache: ImageCache, server: Server, tmp_path: Path) -> None:
    server.answer = body(DATA[:-1], length=-1)
    with pytest.raises(ImageError):
        fetch(cache, reference(DATA), server.url)
    server.answer = ranged(DATA)

    after = ImageCache(tmp_path / "images", limit=300_000)

    assert fetch(after, reference(DATA), server.url).read_bytes() == DATA


def test_downloads_at_once_do_not_take_the_same_room(server: Server, tmp_path: Path) -> None:
    cache = ImageCache(tmp_path / "images", limit=500_000)
    go, began = threading.Event(), threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        began.set()
        assert go.wait(30)
        body(DATA)(request)

    server.answer = answer
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(fetch, cache, reference(DATA), server.url)
        assert began.wait(30)
        with pytest.raises(NoRoom, match=r"needs 293 KiB, 195 KiB free"):
            fetch(cache, reference(bytes(300_000)), server.url)
        go.set()
        first.result()


def test_the_disk_keeps_its_reserve(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 1000 + len(DATA)
    usage = SimpleNamespace(total=20_000, used=0, free=free)
    monkeypatch.setattr("hyper.images.shutil.disk_usage", lambda _: usage)
    cache = ImageCache(tmp_path / "images", limit=10**9)

    usage.free = free - 1
    with pytest.raises(NoRoom, match="needs 293 KiB, 293 KiB free on the disk"):
        fetch(cache, reference(DATA), server.url)
    usage.free = free
    fetch(cache, reference(DATA), server.url)

    assert cache.short() == 0
    usage.free = 990
    assert cache.short() == 10


def test_without_a_limit_the_cache_takes_half_of_a_small_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(total=2000, used=0, free=2000)
    monkeypatch.setattr("hyper.images.shutil.disk_usage", lambda _: usage)
    kept(tmp_path, bytes(1093), DOCKER)

    assert ImageCache(tmp_path / "images").short() == 100


def test_a_cache_whose_directory_is_gone_lacks_nothing_and_tells_why(
    cache: ImageCache, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "images").rmdir()

    assert cache.short() == 0
    with pytest.raises(ImageError, match="No such file"):
        fetch(cache, reference(DATA), server.url)


# -- progress


def test_progress_is_told_as_the_bytes_come(
    cache: ImageCache, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyper.images.NEWS", 0)
    told: list[int] = []
    cache.tell = lambda sha256, done: told.append(done)

    def answer(request: BaseHTTPRequestHandler) -> None:
        body(DATA[:0], length=len(DATA))(request)
        for start in range(0, len(DATA), 1000):
            request.wfile.write(DATA[start : start + 1000])

    server.answer = answer
    fetch(cache, reference(DATA), server.url)

    assert 2 <= len(told) <= 20  # each 5 %, in however large pieces they came
    assert told == sorted(set(told))
    assert all(after - before >= 15_000 for before, after in itertools.pairwise([0, *told]))


def test_progress_is_not_told_more_than_once_a_second(cache: ImageCache, server: Server) -> None:
    told: list[int] = []
    cache.tell = lambda sha256, done: told.append(done)

    fetch(cache, reference(DATA), server.url)

    assert told == []


def test_a_full_disk_is_told_and_leaves_nothing(
    cache: ImageCache, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def __init__(self, handle: int, _mode: str) -> None:
            super().__init__()
            os.close(handle)

        def write(self, _data: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "os", SimpleNamespace(**vars(os) | {"fdopen": Full}))

    with pytest.raises(ImageError, match="No space left"):
        fetch(cache, reference(DATA), server.url, "")

    assert left(tmp_path) == []
