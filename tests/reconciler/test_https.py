"""Fetching over https: from whom, over which hops, how fast, and what is kept. The server is real."""

import asyncio
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from manifests.scalars import HttpsUrl, Sha256
from reconciler.images import BadBytes, Library, LibraryFull
from reconciler.images.addresses import is_public
from reconciler.images.fetch import fetch
from reconciler.images.https import FetchError, Https, Pace
from tests.reconciler.mirror import Mirror, Request, serving, trust

DATA = os.urandom(3_000_000)
SHA256 = Sha256(hashlib.sha256(DATA).hexdigest())
QUICK = Pace(head=1.0, window=0.5, least=100_000)

AUTHORITY = trustme.CA()


@pytest.fixture(autouse=True)
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(trust(AUTHORITY, tmp_path)))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What the resolver answers, one after the other, the last for good."""
    found = {"mirror.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]}
    real = socket.getaddrinfo

    def answer(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host not in found:
            return real(host, port, *args, **more)
        addresses = found[host].pop(0) if len(found[host]) > 1 else found[host][0]
        if not addresses:
            raise socket.gaierror(-2, "Name or service not known")
        return [entry for text in addresses.split() for entry in real(text, port, *args, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return found


@pytest.fixture
def mirror(names: dict[str, list[str]]) -> Iterator[Mirror]:
    with serving(AUTHORITY, "mirror.test", "other.test") as found:
        yield found


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "images", reserve=0)


def get(
    library: Library,
    url: str,
    *,
    trusted: tuple[str, ...] = ("mirror.test",),
    sha256: str = SHA256,
    pace: Pace = QUICK,
    progress: Callable[[int, int | None], None] = lambda *_: None,
) -> None:
    https = Https(trusted, pace)
    asyncio.run(fetch(https, library, HttpsUrl.from_json(url), Sha256(sha256), progress))


def refused(library: Library, url: str, **more: Any) -> str:
    """Why it is not fetched. Nothing is kept, nobody was asked anything."""
    with pytest.raises(FetchError) as caught:
        get(library, url, **more)
    return str(caught.value)


# -- what works


def test_a_file_is_fetched_verified_and_durable(mirror: Mirror, library: Library) -> None:
    mirror.behaviour = lambda request: request.give(DATA)
    seen: list[tuple[int, int | None]] = []
    get(library, mirror.url("/a/b.img?x=%2f&token=s"), progress=lambda *far: seen.append(far))
    assert library.path(SHA256).read_bytes() == DATA
    (path, headers), *_ = mirror.asked
    assert path == "/a/b.img?x=%2f&token=s"
    assert headers["Host"] == f"mirror.test:{mirror.server_address[1]}"
    assert headers["Accept-Encoding"] == "identity"
    assert not {"Cookie", "Authorization", "Range"} & set(headers)
    assert mirror.connections == ["mirror.test"]
    assert seen[-1] == (len(DATA), len(DATA))


def test_a_length_that_is_not_told(mirror: Mirror, library: Library) -> None:
    def chunked(request: Request) -> None:
        request.head(200, Transfer_Encoding="chunked")
        for at in range(0, len(DATA), 500_000):
            piece = DATA[at : at + 500_000]
            request.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        request.wfile.write(b"0\r\n\r\n")

    mirror.behaviour = chunked
    get(library, mirror.url())
    assert library.has(SHA256)


def breaking(request: Request) -> None:
    """Half of what is asked for, and the connection is gone."""
    start = request.start(len(DATA))
    end = start + 1_000_000
    more = {"Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"} if start else {}
    request.head(206 if start else 200, Content_Length=str(len(DATA) - start), **more)
    request.wfile.write(DATA[start:end])


def test_a_broken_download_goes_on_where_it_stopped(
    mirror: Mirror, library: Library, tmp_path: Path
) -> None:
    mirror.behaviour = breaking
    with pytest.raises(FetchError, match=r"the connection to mirror\.test broke"):
        get(library, mirror.url())
    assert library.kept(SHA256) == 1_000_000
    library.close()
    again = Library(tmp_path / "images", reserve=0)
    with pytest.raises(FetchError):
        get(again, mirror.url())
    assert again.kept(SHA256) == 2_000_000
    get(again, mirror.url())
    assert again.path(SHA256).read_bytes() == DATA
    ranges = [headers.get("Range") for _, headers in mirror.asked]
    assert ranges == [None, "bytes=1000000-", "bytes=2000000-"]


def whole(request: Request) -> None:
    request.head(200, Content_Length=str(len(DATA)))
    request.wfile.write(DATA)


def nothing_more(request: Request) -> None:
    request.head(416, Content_Length="0") if "Range" in request.headers else request.give(DATA)


def other_part(request: Request) -> None:
    if "Range" not in request.headers:
        return request.give(DATA)
    request.head(206, Content_Length="5", Content_Range=f"bytes 0-4/{len(DATA)}")
    return request.wfile.write(DATA[:5]) and None


@pytest.mark.parametrize("behaviour", [whole, nothing_more, other_part])
def test_a_server_that_cannot_continue_is_asked_for_all_of_it(
    mirror: Mirror, library: Library, behaviour: Callable[[Request], None]
) -> None:
    with library.writer(SHA256) as writer:
        writer.write(DATA[:1_000_000])
    mirror.behaviour = behaviour
    get(library, mirror.url())
    assert library.path(SHA256).read_bytes() == DATA


def test_all_that_was_missing_was_the_end(mirror: Mirror, library: Library) -> None:
    """Everything had come, and the program was killed before it could verify it."""
    with library.writer(SHA256) as writer:
        writer.write(DATA)
    mirror.behaviour = lambda request: (
        request.head(416, Content_Length="0") if "Range" in request.headers else request.give(DATA)
    )
    get(library, mirror.url())
    assert library.has(SHA256)


# -- from whom


PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "203.0.114.1",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]
NOT_PUBLIC = [
    "127.0.0.1",
    "127.1.2.3",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "169.254.169.254",
    "169.254.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "3fff::1",
    "100::1",
    "5f00::1",
    "2606:4700::1111%1",
    "nonsense",
    "",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "169.254.169.254"],
)
def test_no_way_to_write_a_private_address_works(
    mirror: Mirror, library: Library, host: str
) -> None:
    reason = refused(library, mirror.url(host=host))
    assert "is not a host of the public internet" in reason
    assert f"--trust-url-host {host}" in reason
    assert (mirror.asked, mirror.connections, list(library.root.iterdir())) == ([], [], [])


@pytest.mark.parametrize("answer", ["10.0.0.5", "8.8.8.8 10.0.0.5", "::1", "::ffff:127.0.0.1"])
def test_a_name_with_one_private_address_is_refused(
    mirror: Mirror, library: Library, names: dict[str, list[str]], answer: str
) -> None:
    names["evil.test"] = [answer]
    reason = refused(library, mirror.url(host="evil.test"))
    assert "is not a host of the public internet" in reason
    assert "10.0.0.5" not in reason  # what the resolver of this network knows is nobody's business


def test_the_connection_goes_to_the_address_that_was_checked(
    mirror: Mirror, library: Library, names: dict[str, list[str]]
) -> None:
    """A resolver that answers otherwise the second time is not asked a second time."""
    mirror.behaviour = lambda request: request.give(DATA)
    names["mirror.test"] = ["127.0.0.1", ""]
    get(library, mirror.url())
    assert library.has(SHA256)


def test_an_address_that_does_not_answer_is_not_the_last(
    mirror: Mirror, library: Library, names: dict[str, list[str]]
) -> None:
    mirror.behaviour = lambda request: request.give(DATA)
    names["mirror.test"] = ["127.0.0.9 127.0.0.1"]
    get(library, mirror.url())
    assert library.has(SHA256)


def test_a_name_without_an_address(library: Library, names: dict[str, list[str]]) -> None:
    names["gone.test"] = [""]
    assert "gone.test has no address" in refused(library, "https://gone.test/x")


def test_a_certificate_of_another_name_is_refused(
    mirror: Mirror, library: Library, names: dict[str, list[str]]
) -> None:
    names["third.test"] = ["127.0.0.1"]
    reason = refused(library, mirror.url(host="third.test"), trusted=("third.test",))
    assert "its certificate is not valid" in reason
    assert mirror.asked == []


def test_a_certificate_of_another_authority_is_refused(
    library: Library, names: dict[str, list[str]]
) -> None:
    with serving(trustme.CA(), "mirror.test") as stranger:
        assert "its certificate is not valid" in refused(library, stranger.url())
        assert stranger.asked == []


def test_no_proxy_of_the_environment_is_used(
    mirror: Mirror, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.behaviour = lambda request: request.give(DATA)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    get(library, mirror.url())
    assert library.has(SHA256)


# -- over which hops


def redirecting(target: Callable[[int], str], times: int) -> Callable[[Request], None]:
    def behaviour(request: Request) -> None:
        if len(request.server.asked) > times:
            return request.give(DATA)
        location = target(len(request.server.asked))
        return request.head(302, Location=location, Content_Length="0", Set_Cookie="a=b; Path=/")

    return behaviour


def test_three_redirects_are_followed_with_nothing_taken_along(
    mirror: Mirror, library: Library
) -> None:
    mirror.behaviour = redirecting(lambda count: f"/hop{count}?a=1#part", 3)
    get(library, mirror.url())
    assert library.has(SHA256)
    assert [path for path, _ in mirror.asked] == ["/disk.img", *(f"/hop{n}?a=1" for n in (1, 2, 3))]
    assert not any("Cookie" in headers or "Referer" in headers for _, headers in mirror.asked)


def test_a_redirect_to_another_name_is_verified_for_that_name(
    mirror: Mirror, library: Library
) -> None:
    mirror.behaviour = redirecting(lambda _: mirror.url("/x", host="other.test"), 1)
    get(library, mirror.url(), trusted=("mirror.test", "other.test"))
    assert mirror.connections == ["mirror.test", "other.test"]


def test_a_fourth_redirect_is_not_followed(mirror: Mirror, library: Library) -> None:
    mirror.behaviour = redirecting(lambda _: "/again", 100)
    assert refused(library, mirror.url()) == "more than 3 redirects"
    assert len(mirror.asked) == 4


@pytest.mark.parametrize(
    "location",
    [
        "http://mirror.test/x",
        "http://8.8.8.8/",
        "file:///etc/shadow",
        "ftp://mirror.test/x",
        "gopher://mirror.test/x",
        "data:text/plain,hello",
        "javascript:1",
        "https://user:password@mirror.test/x",
        "https://user@mirror.test/x",
        "https:///x",
        "https://mirror.test:0/x",
        "https://mirror.test:999999/x",
        "https://[::1]/x",
        "https://mirror.test\\@127.0.0.1/x",
        "https://mirror.test/a b",
        "https://xn--/\u00e9",
        "",
    ],
)
def test_a_redirect_to_anything_but_plain_https_is_refused(
    mirror: Mirror, library: Library, location: str
) -> None:
    if location:
        mirror.behaviour = lambda request: request.head(302, Location=location, Content_Length="0")
    else:
        mirror.behaviour = lambda request: request.head(302, Content_Length="0")
    reason = refused(library, mirror.url())
    assert reason in (
        "mirror.test redirects to what is no plain https address",
        "more than 3 redirects",  # no address at all: it is the same one
    )
    assert "password" not in reason


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "other.test"])
def test_a_redirect_to_a_private_address_is_refused(
    mirror: Mirror, library: Library, host: str
) -> None:
    mirror.behaviour = redirecting(lambda _: mirror.url("/latest/meta-data", host=host), 1)
    assert f"{host} is not a host of the public internet" in refused(library, mirror.url())
    assert len(mirror.asked) == 1


# -- what is sent


@pytest.mark.parametrize("status", [204, 400, 401, 403, 404, 429, 500, 503, 599])
def test_an_answer_that_is_no_file(mirror: Mirror, library: Library, status: int) -> None:
    mirror.behaviour = lambda request: request.head(status, Content_Length="0")
    assert refused(library, mirror.url("/x?secret=1")).startswith(f"mirror.test answered {status}")


def test_a_page_instead_of_a_file_is_dropped(mirror: Mirror, library: Library) -> None:
    mirror.behaviour = lambda request: request.give(b"<html>please log in</html>")
    with pytest.raises(BadBytes, match="the bytes have sha256"):
        get(library, mirror.url())
    assert list(library.root.iterdir()) == []


def test_right_at_first_and_wrong_at_the_end(mirror: Mirror, library: Library) -> None:
    mirror.behaviour = lambda request: request.give(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    with pytest.raises(BadBytes):
        get(library, mirror.url())
    assert list(library.root.iterdir()) == []


def test_a_length_that_is_larger_than_the_file(mirror: Mirror, library: Library) -> None:
    mirror.behaviour = lambda request: request.give(DATA, length=len(DATA) + 1)
    assert "broke" in refused(library, mirror.url())
    assert library.kept(SHA256) == len(DATA)
    assert not library.has(SHA256)


def test_a_length_that_is_smaller_than_the_file(mirror: Mirror, library: Library) -> None:
    mirror.behaviour = lambda request: request.give(DATA, length=1000)
    with pytest.raises(BadBytes):
        get(library, mirror.url())


@pytest.mark.parametrize("length", [str(10**15), "9" * 20])
def test_a_length_beyond_the_disk_is_refused_unread(
    mirror: Mirror, library: Library, length: str
) -> None:
    mirror.behaviour = lambda request: request.head(200, Content_Length=length)
    with pytest.raises(LibraryFull):
        get(library, mirror.url())
    assert list(library.root.iterdir()) == []


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd"])
def test_what_is_compressed_is_not_unpacked(
    mirror: Mirror, library: Library, encoding: str
) -> None:
    mirror.behaviour = lambda request: request.head(
        200, Content_Length="1000000", Content_Encoding=encoding
    )
    assert "encoded" in refused(library, mirror.url())


def endless(request: Request) -> None:
    """Chunks for ever."""
    request.head(200, Transfer_Encoding="chunked")
    while True:
        request.wfile.write(b"10000\r\n" + bytes(65536) + b"\r\n")


def test_an_endless_body_ends_with_the_room(mirror: Mirror, library: Library) -> None:
    usage = os.statvfs(library.root)
    library.room.reserve = usage.f_bavail * usage.f_frsize - 20_000_000
    mirror.behaviour = endless
    with pytest.raises(LibraryFull):
        get(library, mirror.url())
    assert list(library.root.iterdir()) == []


def drip(request: Request) -> None:
    request.head(200, Content_Length=str(len(DATA)))
    for byte in DATA:
        request.wfile.write(bytes([byte]))
        time.sleep(0.05)


def silent(request: Request) -> None:
    request.head(200, Content_Length=str(len(DATA)))
    request.wfile.write(DATA[:1000])
    time.sleep(5)


def slow_head(request: Request) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Y: z\r\n" * 1000:
        request.wfile.write(bytes([byte]))
        time.sleep(0.05)


def endless_early_hints(request: Request) -> None:
    while True:
        request.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        time.sleep(0.001)


def huge_head(request: Request) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        request.wfile.write(b"X-Y: " + b"z" * 10_000 + b"\r\n")


def garbage(request: Request) -> None:
    request.wfile.write(b"\x00\x01\x02 SSH-2.0-OpenSSH\r\n" * 10)


def no_answer(request: Request) -> None:
    time.sleep(3)


def closed(request: Request) -> None:
    request.reset()


@pytest.mark.parametrize(
    "behaviour",
    [drip, silent, slow_head, endless_early_hints, huge_head, garbage, no_answer, closed],
)
def test_who_is_too_slow_or_talks_nonsense_is_left(
    mirror: Mirror, library: Library, behaviour: Callable[[Request], None]
) -> None:
    mirror.behaviour = behaviour
    began = time.monotonic()
    reason = refused(library, mirror.url("/x?secret=1"))
    assert time.monotonic() - began < 4
    assert reason.isprintable()
    assert "secret" not in reason
    assert len(reason) < 300
    assert not library.has(SHA256)


def test_who_takes_too_long_in_all_is_left(mirror: Mirror, library: Library) -> None:
    def steady(request: Request) -> None:
        request.head(200, Content_Length=str(len(DATA)))
        for at in range(0, len(DATA), 50_000):
            request.wfile.write(DATA[at : at + 50_000])
            time.sleep(0.05)

    mirror.behaviour = steady
    reason = refused(library, mirror.url(), pace=Pace(whole=0.5))
    assert "took more than" in reason
    assert library.kept(SHA256) > 0


def test_a_port_where_nobody_listens(library: Library, names: dict[str, list[str]]) -> None:
    assert "mirror.test cannot be reached" in refused(library, "https://mirror.test:9/x")
