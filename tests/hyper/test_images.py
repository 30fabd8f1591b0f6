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

from hyper import download
from hyper.download import ImageError
from hyper.images import ImageCache
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
    monkeypatch.setattr(download, "PATIENCE", -1e9)

    with pytest.raises(ImageError, match="too slowly"):
        cache.fetch(reference(DATA), server.url, "")

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
        cache.fetch(reference(DATA), server.url, "")
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
        cache.fetch(reference(DATA), url, "")

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

    assert cache.path(reference(DATA)) is None


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
        cache.fetch(reference(DATA), server.url, "")
    assert cache.path(reference(DATA)) is None
    assert part(tmp_path).read_bytes() == DATA[:1000]

    server.answer = ranged(DATA)
    after = ImageCache(tmp_path / "images") if restart else cache
    assert after.fetch(reference(DATA), server.url, "").read_bytes() == DATA

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

    assert cache.fetch(reference(DATA), server.url, "").read_bytes() == DATA

    assert [wanted for *_, wanted in server.asked] == asked
    assert left(tmp_path) == [reference(DATA).sha256]


def test_a_server_with_other_bytes_is_asked_anew_once(
    cache: ImageCache, server: Server, tmp_path: Path
) -> None:
    server.answer = ranged(bytes(len(DATA)))
    part(tmp_path).write_bytes(DATA[:1000])

    with pytest.raises(ImageError, match="another digest"):
        cache.fetch(reference(DATA), server.url, "")

    assert [wanted for *_, wanted in server.asked] == ["bytes=1000-", None]
    assert left(tmp_path) == []


def test_a_server_that_does_not_resume_sends_all(
    cache: ImageCache, server: Server, tmp_path: Path
) -> None:
    part(tmp_path).write_bytes(bytes(1000))

    assert cache.fetch(reference(DATA), server.url, "").read_bytes() == DATA

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

    assert cache.fetch(reference(DATA), server.url, "").read_bytes() == DATA

    assert [wanted for *_, wanted in server.asked] == ["bytes=1000-", None]


def test_a_server_that_is_away_takes_nothing_of_what_was_kept(
    cache: ImageCache, tmp_path: Path
) -> None:
    part(tmp_path).write_bytes(DATA[:1000])

    with pytest.raises(ImageError, match="refused"):
        cache.fetch(reference(DATA), "http://127.0.0.1:1/images", "")

    assert part(tmp_path).read_bytes() == DATA[:1000]


def test_a_file_of_another_size_is_not_the_image(cache: ImageCache, tmp_path: Path) -> None:
    image = reference(DATA)
    (tmp_path / "images" / image.sha256).write_bytes(DATA[:-1])

    assert cache.path(image) is None


def test_keep_removes_all_other_images_and_nothing_else(cache: ImageCache, tmp_path: Path) -> None:
    for name in ("a" * 64, "b" * 64, "b" * 64 + ".part", "c" * 64 + ".part", "notes.txt"):
        (tmp_path / "images" / name).touch()

    assert cache.keep({"b" * 64}) == ["a" * 64, "c" * 64]
    assert left(tmp_path) == ["b" * 64, "b" * 64 + ".part", "notes.txt"]
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

    monkeypatch.setattr("hyper.download.os.fdopen", Full)

    with pytest.raises(ImageError, match="No space left"):
        cache.fetch(reference(DATA), server.url, "")

    assert left(tmp_path) == []
