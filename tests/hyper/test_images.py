"""The image cache against a real HTTP server."""

import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hyper import images
from hyper.images import ImageCache, ImageError
from manifests.kinds.image import ImageFormat
from manifests.scalars import Sha256
from manifests.wire import ImageRef
from tests.docker_images import tar

DATA = os.urandom(300_000)
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
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen.append((self.path, self.headers["Authorization"]))
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


def left(tmp_path: Path) -> list[str]:
    return sorted(os.listdir(tmp_path / "images"))


def test_an_image_is_fetched_verified_and_named_by_its_digest(
    cache: ImageCache, server: Server, tmp_path: Path
) -> None:
    image = reference(DATA)
    assert cache.path(image) is None

    path = cache.fetch(image, server.url, "secret")

    assert path == cache.path(image) == tmp_path / "images" / image.sha256
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o7777 == 0o600
    assert path.parent.stat().st_mode & 0o7777 == 0o711
    assert server.seen == [(f"/images/{image.sha256}", "Bearer secret")]
    assert left(tmp_path) == [image.sha256]


def test_what_is_here_is_not_fetched_again(cache: ImageCache, server: Server) -> None:
    cache.fetch(reference(DATA), server.url, "")

    cache.fetch(reference(DATA), server.url, "")

    assert len(server.seen) == 1


def test_callers_at_once_share_one_download(cache: ImageCache, server: Server) -> None:
    go = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        assert go.wait(30)
        body(DATA)(request)

    server.answer = answer
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(cache.fetch, reference(DATA), server.url, "") for _ in range(8)]
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
        asked = [pool.submit(cache.fetch, reference(DATA), server.url, "") for _ in range(2)]
        go.set()
        assert all(isinstance(each.exception(), ImageError) for each in asked)

    server.answer = body(DATA)
    assert cache.fetch(reference(DATA), server.url, "").read_bytes() == DATA


def redirect(request: BaseHTTPRequestHandler) -> None:
    request.send_response(302)
    request.send_header("Location", "/elsewhere")
    request.end_headers()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (body(DATA[:-1]), "299999 bytes instead of 300000"),
        (body(DATA + b"x"), "300001 bytes instead of 300000"),
        (body(DATA[:-1], length=-1), "299999 bytes instead of 300000"),
        (body(DATA + b"x", length=-1), "more than 300000 bytes"),
        (body(DATA[:1000], length=len(DATA)), "1000 bytes"),
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
        cache.fetch(reference(DATA), server.url, "secret")

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
        cache.fetch(reference(DATA), server.url, "")

    assert ended.wait(30)
    assert left(tmp_path) == []


def test_a_body_that_trickles_is_given_up(
    cache: ImageCache, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "PATIENCE", -1e9)

    with pytest.raises(ImageError, match="too slowly"):
        cache.fetch(reference(DATA), server.url, "")

    assert left(tmp_path) == []


def test_a_server_that_falls_silent_is_given_up(
    cache: ImageCache, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "TIMEOUT", 0.2)
    done = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        body(DATA[:1000], length=len(DATA))(request)
        done.wait(30)

    server.answer = answer
    with pytest.raises(ImageError, match="timed out"):
        cache.fetch(reference(DATA), server.url, "")
    done.set()

    assert left(tmp_path) == []


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
        cache.fetch(reference(DATA), url, "")

    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "host",
    ["192.0.2.1", "controller.lab", "127.0.0.1.evil.example", "localhost.evil", "[2001:db8::1]"],
)
def test_the_token_does_not_go_over_a_network_in_the_clear(
    cache: ImageCache, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(images, "_OPENER", None)  # nothing may be sent

    with pytest.raises(ImageError, match="token over plain http only to loopback"):
        cache.fetch(reference(DATA), f"http://{host}:7700/images", "secret")


@pytest.mark.parametrize("url", ["http://localhost:1", "http://[::1]:1", "https://127.0.0.1:1"])
def test_the_token_goes_to_this_host_or_under_tls(cache: ImageCache, url: str) -> None:
    with pytest.raises(ImageError, match=r"refused|Cannot assign"):
        cache.fetch(reference(DATA), url, "secret")


def test_a_download_ends_with_the_agent(cache: ImageCache, server: Server, tmp_path: Path) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        body(DATA[:1000], length=len(DATA))(request)
        cache.closing.set()
        request.wfile.write(DATA[1000:])

    server.answer = answer
    with pytest.raises(ImageError, match="the agent is ending"):
        cache.fetch(reference(DATA), server.url, "")

    assert left(tmp_path) == []


def test_a_directory_that_others_could_list_is_closed(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images").chmod(0o755)

    ImageCache(tmp_path / "images")

    assert (tmp_path / "images").stat().st_mode & 0o777 == 0o711


def test_a_server_that_is_not_there(cache: ImageCache) -> None:
    with pytest.raises(ImageError, match="refused"):
        cache.fetch(reference(DATA), "http://127.0.0.1:1/images", "")


@pytest.mark.parametrize(
    ("format_", "message"),
    [(ImageFormat.QCOW2, "not a qcow2"), (ImageFormat.DOCKER_ARCHIVE, "not an uncompressed tar")],
)
def test_bytes_that_are_not_of_the_declared_format_are_refused(
    cache: ImageCache, server: Server, tmp_path: Path, format_: ImageFormat, message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        cache.fetch(reference(DATA, format_), server.url, "")

    assert left(tmp_path) == []


def test_a_docker_archive_is_accepted(cache: ImageCache, server: Server) -> None:
    data = tar([("manifest.json", b"[]")])
    server.answer = body(data)

    path = cache.fetch(reference(data, ImageFormat.DOCKER_ARCHIVE), server.url, "")

    assert path.read_bytes() == data


def test_a_start_removes_what_a_crash_left(tmp_path: Path) -> None:
    directory = tmp_path / "images"
    directory.mkdir()
    (directory / ".abc.part").write_bytes(b"half")
    (directory / ("a" * 64)).write_bytes(b"whole")

    ImageCache(directory)

    assert left(tmp_path) == ["a" * 64]


def test_a_file_of_another_size_is_not_the_image(cache: ImageCache, tmp_path: Path) -> None:
    image = reference(DATA)
    (tmp_path / "images" / image.sha256).write_bytes(DATA[:-1])

    assert cache.path(image) is None


def test_keep_removes_all_other_images_and_nothing_else(cache: ImageCache, tmp_path: Path) -> None:
    for name in ("a" * 64, "b" * 64, "notes.txt"):
        (tmp_path / "images" / name).touch()

    assert cache.keep({"b" * 64}) == ["a" * 64]
    assert left(tmp_path) == ["b" * 64, "notes.txt"]
    assert cache.keep({"b" * 64}) == []


def test_a_full_disk_is_told_and_leaves_nothing(
    cache: ImageCache, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def __init__(self, handle: int, _mode: str) -> None:
            super().__init__()
            os.close(handle)

        def write(self, _data: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("hyper.images.os.fdopen", Full)

    with pytest.raises(ImageError, match="No space left"):
        cache.fetch(reference(DATA), server.url, "")

    assert left(tmp_path) == []
