"""The lab's commands and methods against the real API, in process: what is made, printed, refused."""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from iaasctl import asking
from iaasctl.answers import Object
from iaasctl.client import Client
from iaasctl.errors import Conflict, Failure, Invalid, NotFound, Unreachable
from iaasctl.main import main
from iaasctl.session import Session
from iaasctl.transport import Request, Response
from reconciler.loop import Loop
from tests.iaasctl.conftest import Ran, Run
from tests.iaasctl.wsgi import WsgiTransport
from tests.reconciler.world import ADMIN, World

DOCS = Path(__file__).parents[2] / "docs" / "lab.md"


class Losing(WsgiTransport):
    """A control plane that has always done its work. Loses the next so many answers of a method,
    after the server has done what was asked."""

    method, count = "", 0

    def __init__(self, world: World) -> None:
        super().__init__(world.app, ADMIN)
        self._loop = Loop(world.cluster, world.term, lambda: world.now)

    def send(self, request: Request) -> Response:
        answer = super().send(request)
        while self._loop.step():
            pass
        if request.method == self.method and self.count:
            self.count -= 1
            raise Unreachable("lost the connection", maybe_done=True, dropped=True)
        return answer


@pytest.fixture
def transport(tmp_path: Path) -> Losing:
    return Losing(World(tmp_path / "world"))


@pytest.fixture
def client(transport: Losing) -> Client:
    return Client(transport, patience=0)


@pytest.fixture
def go(client: Client, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("IAAS_TRACEBACK", "1")

    def run(*words: str) -> Ran:
        return Ran(main(list(words), Session(lambda *_: client)), *capfd.readouterr())

    return run


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAUSES", (0.01, 0.02))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """What `docker save` writes, as far as it is looked at."""
    path = tmp_path / "nginx.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("manifest.json")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"[]"))
    return path


@pytest.fixture
def shop(client: Client, archive: Path) -> Client:
    """With a node and an image."""
    client.add_node("n1", "127.0.0.1:7701")
    client.add_image("nginx", archive)
    return client


def power(machine: Object) -> str:
    """What it is to be; running is left out of a spec."""
    return str(machine["spec"].get("state", "running"))


# -- nodes ---------------------------------------------------------------------------------------


def test_nodes(go: Run) -> None:
    made = go("node", "add", "node1", "127.0.0.1:7701")
    assert (made.code, made.out) == (0, "")
    assert made.err.startswith("node/node1 ")
    assert go("node", "add", "node2", "127.0.0.1:7702").code == 0
    header, *lines = go("node", "ls").out.splitlines()
    assert header.split()[:3] == ["NAME", "STATE", "ADDRESS"]
    assert [line.split()[2] for line in lines] == ["127.0.0.1:7701", "127.0.0.1:7702"]
    assert go("node", "ls", "name=node2", "-o", "name").out == "node/node2\n"
    again = go("node", "add", "node1", "127.0.0.1:7703")
    assert (again.code, "node1" in again.err) == (5, True)
    gone = go("node", "rm", "node1", "node2")
    assert (gone.code, gone.out) == (0, "")
    assert go("node", "ls", "-o", "json").out == "[]\n"
    assert go("node", "rm", "node1").code == 4


@pytest.mark.parametrize("addr", ["127.0.0.1", "127.0.0.1:0", "a b:1", "", "127.0.0.1:70000"])
def test_a_node_needs_an_address(go: Run, addr: str) -> None:
    ran = go("node", "add", "n1", addr)
    assert (ran.code, ran.out) == (2, "")
    assert "addr" in ran.err


def test_all_that_is_wrong_is_told(go: Run) -> None:
    ran = go("node", "add", "N_1", "x")
    assert (ran.code, "addr: 'x' is not" in ran.err, "name: 'N_1' is not" in ran.err) == (
        2,
        True,
        True,
    )


# -- images --------------------------------------------------------------------------------------


def test_images_from_files(go: Run, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "disk.bin").write_bytes(b"\0" * 4096)
    added = go("img", "add", "nginx", str(archive))
    assert (added.code, added.out, added.err) == (0, "", "image/nginx ready: docker-archive\n")
    assert go("img", "add", "disk", str(tmp_path / "disk.bin"), "--format", "raw").code == 0
    shown = json.loads(go("img", "ls", "-o", "json").out)
    assert [(item["name"], item["type"], item["format"], item["size"]) for item in shown] == [
        ("disk", "libvirt", "raw", 4096),
        ("nginx", "docker", "docker-archive", archive.stat().st_size),
    ]
    assert go("img", "rm", "disk", "nginx").code == 0
    assert go("img", "ls").err == "no images\n"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ((), "a file, a url, a registry"),
        (("FILE", "--url", "https://x.example/a.qcow2"), "a file, a url, a registry"),
        (("--url", "https://x.example/a.qcow2"), "give both"),
        (("FILE", "--sha256", "a" * 64), "give both"),
        (("FILE", "--format", "qcow2"), "--format docker-archive"),
        (("FILE", "--type", "libvirt"), "libvirt takes qcow2"),
        (("FILE.gz",), "unpack it first"),
        (("/nonexistent.tar",), ""),
        (("--registry", "nginx:1"), ""),
        (("--registry", f"nginx@sha256:{'a' * 64}", "--type", "libvirt"), ""),
    ],
)
def test_images_that_are_refused(
    go: Run, client: Client, archive: Path, words: tuple[str, ...], hint: str
) -> None:
    ran = go("img", "add", "x", *(word.replace("FILE", str(archive)) for word in words))
    assert (ran.code in (1, 2), ran.out) == (True, "")
    assert hint in ran.err
    assert client.images() == []


def test_an_image_of_a_registry(go: Run, client: Client) -> None:
    reference = f"docker.io/library/nginx:1.27@sha256:{'a' * 64}"
    assert go("img", "add", "nginx", "--registry", reference).code == 0
    (image,) = client.images()
    assert (image["type"], image["format"], image["sha256"]) == ("docker", "registry", "a" * 64)


def test_an_image_of_an_address(go: Run, client: Client) -> None:
    url = "https://images.example/debian-12.qcow2?token=x"
    assert go("img", "add", "debian", "--url", url, "--sha256", "a" * 64).code == 0
    (image,) = client.images()
    assert (image["type"], image["format"], image["sha256"]) == ("libvirt", "qcow2", "a" * 64)
    assert image["spec"]["url"] == url


def test_a_name_in_use_is_told_before_anything_is_sent(shop: Client, tmp_path: Path) -> None:
    other = tmp_path / "other.raw"
    other.write_bytes(b"other")
    with pytest.raises(Conflict, match="'nginx' already"):
        shop.add_image("nginx", other)
    assert shop.blob_offset(hashlib.sha256(b"other").hexdigest()) == 0


# -- machines ------------------------------------------------------------------------------------


def test_the_id_alone_is_printed(go: Run, shop: Client) -> None:
    ran = go("vm", "add", "nginx", "-t", "docker", "-m", "512", "-n", "n1", "-p", "8080:80")
    (machine,) = shop.machines()
    assert (ran.code, ran.out) == (0, f"{machine['id']}\n")
    assert ran.err.startswith(f"machine/{machine['name']} ")
    assert (machine["mem"], machine["node"], machine["ports"]) == (512, "n1", ["8080:80/tcp"])


@pytest.mark.parametrize(("mem", "mib"), [("256", 256), ("64Mi", 64), ("2Gi", 2048)])
def test_memory(go: Run, shop: Client, mem: str, mib: int) -> None:
    assert go("vm", "add", "nginx", "-m", mem, "--cpus", "500m", "--name", "a").code == 0
    (machine,) = shop.machines(name="a")
    assert (machine["mem"], machine["cpus"]) == (mib, 0.5)


@pytest.mark.parametrize(
    "words",
    [
        ("-m", "7"),
        ("-m", "256MB"),
        ("-m", "-1"),
        ("-m", "٢٥٦"),
        ("--cpus", "0"),
        ("--cpus", "nan"),
        ("-p", "8080"),
        ("-p", "0:80"),
        ("-p", "8080:80:90"),
        ("-p", "8080:80", "-p", "8080:81"),
        ("-t", "lxc"),
        ("-t", "libvirt"),
        ("--name", "No!"),
        ("-n", "no_name"),
        ("--timeout", "soon"),
    ],
    ids=" ".join,
)
def test_machines_that_are_refused(go: Run, shop: Client, words: tuple[str, ...]) -> None:
    ran = go("vm", "add", "nginx", *words)
    assert (ran.code in (2, 5), ran.out) == (True, ""), ran
    assert "error: " in ran.err
    assert shop.machines() == []


def test_an_image_that_is_not_there(go: Run, shop: Client) -> None:
    ran = go("vm", "add", "debian")
    assert (ran.code in (2, 4, 5), "debian" in ran.err, ran.out) == (True, True, "")


def test_stop_start_and_rm_by_id_beginning_and_name(go: Run, shop: Client) -> None:
    one, two = (shop.add_machine("nginx", name=name)["id"] for name in ("web1", "web2"))

    def states() -> dict[str, str]:
        return {str(item["name"]): power(item) for item in shop.machines()}

    assert go("vm", "stop", one, "web2").code == 0
    assert states() == {"web1": "stopped", "web2": "stopped"}
    started = go("vm", "start", "web2")
    assert (started.code, started.out) == (0, "")
    assert started.err.startswith("machine/web2 ")
    assert states() == {"web1": "stopped", "web2": "running"}
    assert go("vm", "rm", "web2", "nobody").code == 4
    assert len(shop.machines()) == 2, "nothing is done unless all are known"
    assert go("vm", "rm", one[:8], two).err == "machine/web1 deleting\nmachine/web2 deleting\n"
    assert shop.machines() == []


def test_lists_are_filtered(go: Run, shop: Client) -> None:
    for name in ("web1", "web2"):
        shop.add_machine("nginx", name=name, ports=["80:80"] if name == "web1" else [])
    shop.stop_machine("web2")
    assert go("vm", "ls", "name=web1", "image=nginx", "-o", "name").out == "machine/web1\n"
    assert go("vm", "ls", "name=web1", "image=other").out == ""
    unknown = go("vm", "ls", "colour=red")
    assert (unknown.code, "state" in unknown.err) == (2, True)
    assert go("vm", "ls", "web1").code == 2


def test_what_is_used_is_not_removed_and_stops_no_other(go: Run, shop: Client) -> None:
    shop.add_node("n2", "127.0.0.1:7702")
    shop.add_machine("nginx", name="web1", node="n1")
    ran = go("node", "rm", "n1", "n2")
    assert (ran.code, "web1" in ran.err) == (5, True)
    assert [item["name"] for item in shop.nodes()] == ["n1"]
    assert (go("img", "rm", "nginx").code, len(shop.images())) == (5, 1)


def test_waiting_for_what_cannot_be_keeps_standard_output_to_the_id(go: Run, shop: Client) -> None:
    ran = go("vm", "add", "nginx", "--wait", "--timeout", "0s")
    (machine,) = shop.machines()
    assert (ran.code, ran.out) == (3, f"{machine['id']}\n")
    assert f"machine/{machine['name']} is pending: " in ran.err


def test_what_a_set_owns_is_not_stopped(go: Run, shop: Client, tmp_path: Path) -> None:
    path = tmp_path / "set.yaml"
    path.write_text(
        "apiVersion: iaas/v1\nkind: Machine\nmetadata: {name: web1}\nspec: {image: nginx}\n"
    )
    assert go("apply", "-f", str(path)).code == 0
    ran = go("vm", "stop", "web1")
    assert (ran.code, "set:set" in ran.err) == (5, True)


# -- lost answers --------------------------------------------------------------------------------


def test_a_lost_answer_makes_nothing_twice(shop: Client, transport: Losing) -> None:
    transport.method, transport.count = "POST", 2
    made = shop.add_machine("nginx")
    assert [item["id"] for item in shop.machines()] == [made["id"]]
    transport.method, transport.count = "PUT", 1
    assert power(shop.stop_machine(made["id"])) == "stopped"
    transport.method, transport.count = "DELETE", 1
    shop.remove_machine(made["id"])
    transport.count = 1
    assert shop.remove_node("n1") is None, "what is not found any more has gone"
    assert shop.machines() == shop.nodes() == []


@pytest.mark.parametrize(
    ("method", "change", "fix"),
    [
        ("POST", lambda client: client.add_machine("nginx"), "iaasctl get machines"),
        ("PUT", lambda client: client.stop_machine("web1"), "run the same command again"),
        ("DELETE", lambda client: client.remove_machine("web1"), "run the same command again"),
    ],
)
def test_answers_that_stay_lost_are_told_with_what_to_do(
    shop: Client, transport: Losing, method: str, change: Callable[[Client], object], fix: str
) -> None:
    shop.add_machine("nginx", name="web1")
    transport.method, transport.count = method, 99
    with pytest.raises(Unreachable) as caught:
        change(shop)
    assert fix in caught.value.fix
    assert 99 - transport.count == 3
    assert len(shop.machines()) == {"POST": 2, "PUT": 1, "DELETE": 0}[method]


def test_nobody_there_is_not_tried_again() -> None:
    tried = []

    class Nobody(WsgiTransport):
        def send(self, request: Request) -> Response:
            tried.append(request)
            raise Unreachable("cannot reach")

    with pytest.raises(Unreachable):
        Client(Nobody(None), patience=0).add_node("n1", "h:1")
    assert len(tried) == 1


# -- the library ---------------------------------------------------------------------------------


def test_the_library(client: Client, archive: Path) -> None:
    node = client.add_node("n1", "127.0.0.1:7701")
    image = client.add_image("nginx", archive, type="docker", format="docker-archive")
    machine = client.add_machine("nginx", mem="64Mi", cpus=0.5, node="n1", ports=["8080:80"])
    assert (node["name"], image["name"], machine["image"]) == ("n1", "nginx", "nginx")
    assert client.nodes(name="n1") == client.nodes()
    assert client.machines(node="n1", image="nginx")[0]["id"] == machine["id"]
    assert client.machines(node="n2") == []
    assert client.stop_machine(machine["id"])["id"] == machine["id"]
    assert power(client.start_machine(machine["id"])) == "running"
    client.remove_machine(machine["id"])
    client.remove_image("nginx")
    client.remove_node("n1")
    assert client.nodes() == client.images() == client.machines() == []


def test_the_python_of_the_docs(
    transport: Losing,
    archive: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    monkeypatch.chdir(archive.parent)
    monkeypatch.setattr(Client, "connect", lambda: Client(transport, patience=0))
    exec(code, {})
    assert " nginx-" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda client: client.add_machine("nginx", mem=True), Invalid),
        (lambda client: client.add_machine("nginx", mem="lots"), Invalid),
        (lambda client: client.add_machine("nginx", cpus="many"), Invalid),
        (lambda client: client.add_machine("nginx", ports=["80"]), Invalid),
        (lambda client: client.start_machine("nobody"), NotFound),
        (lambda client: client.remove_machine("../nodes"), NotFound),
        (lambda client: client.remove_node("n\x00"), Failure),
    ],
)
def test_the_library_raises_failures(
    client: Client, call: Callable[[Client], object], error: type[Failure]
) -> None:
    with pytest.raises(error):
        call(client)
