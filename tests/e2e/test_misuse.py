"""What people do wrong gets a plain sentence and the right exit code, and harms nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Labs
from tests.e2e.documents import machine, node
from tests.e2e.engines import Engines
from tests.e2e.lab import Lab, Result, run
from tests.e2e.ports import until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(100)]

MANY = ("a", "b", "c", "d", "e")


def hyper(lab: Lab, *, state: str = "h2", listen: str = "127.0.0.1:0", token: Path) -> Result:
    options = (f"--state={lab.dir}/{state}", f"--listen={listen}", f"--token-file={token}")
    return run("hyper", *options, "--drivers=docker")


def reconciler(
    lab: Lab,
    *,
    state: str = "r2",
    images: str = "images2",
    listen: str = "127.0.0.1:0",
    token: Path,
) -> Result:
    options = (
        f"--state={lab.dir}/{state}",
        f"--images={lab.dir}/{images}",
        f"--listen={listen}",
        "--health-listen=127.0.0.1:0",
    )
    return run("iaas-reconciler", *options, f"--agent-token-file={token}")


Program = Callable[..., Result]
both = pytest.mark.parametrize("program", [hyper, reconciler])


def refused(result: Result, *words: str, code: int = 1) -> None:
    print(result.err)
    assert result.code == code
    assert result.out == ""
    for word in words:
        assert word in result.err


def test_a_second_program_on_the_same_state(small: Lab) -> None:
    refused(hyper(small, state="h", token=small.agent_token), "another hyper uses", "--state")
    refused(reconciler(small, state="r", token=small.agent_token), "in use by another process")
    again = reconciler(small, images="images", token=small.agent_token)
    refused(again, "image directory of another iaas-reconciler", "--images")
    refused(run("hyper", "--purge", f"--state={small.state}"), "another hyper uses")
    assert small.get("node", "n1")["state"] == "ready"


@both
def test_a_port_that_is_taken(small: Lab, program: Program) -> None:
    listen = f"127.0.0.1:{small.agent_port}"
    refused(program(small, listen=listen, token=small.agent_token), str(small.agent_port), "in use")


@both
@pytest.mark.parametrize("listen", ["0.0.0.0:7799", "nonsense"])
def test_an_address_that_is_not_loopback(small: Lab, program: Program, listen: str) -> None:
    result = program(small, listen=listen, token=small.agent_token)
    refused(result, "--listen", "loopback" if ":" in listen else "not ADDR:PORT", code=2)


@both
def test_a_token_that_others_can_read(small: Lab, program: Program) -> None:
    path = small.dir / "open.token"
    path.write_text("0123456789abcdef" * 2)
    path.chmod(0o644)
    refused(program(small, token=path), f"chmod 600 {path}")
    path.chmod(0o600)
    path.write_text("short")
    refused(program(small, token=path), "holds no token")


def test_iaasctl_with_a_wrong_token_or_server(small: Lab) -> None:
    path = small.dir / "wrong.token"
    path.write_text("0123456789abcdef" * 2)
    path.chmod(0o644)
    for mode, words in ((0o644, "chmod 600"), (0o600, "a valid token is needed")):
        path.chmod(mode)
        refused(small.ctl("get", "all", IAAS_TOKEN_FILE=str(path), code=None), words, code=6)
    agents = small.ctl("get", "all", IAAS_TOKEN_FILE=str(small.agent_token), code=None)
    refused(agents, "agents may only fetch images", code=6)
    nobody = small.ctl("get", "all", IAAS_SERVER="http://127.0.0.1:1", code=None)
    refused(nobody, "cannot reach the reconciler", "Connection refused", code=7)


def test_a_node_where_nothing_listens(small: Lab) -> None:
    documents = node(small, "dead", address="127.0.0.1:1"), machine("lost", "idle", node="dead")
    path = small.write(*documents, name="dead")
    result = small.ctl("apply", "-f", path, "--wait", "--timeout=2s", code=3)
    print(result.err)
    assert "machine/lost is pending: no node fits: dead" in result.err
    assert "no answer from 127.0.0.1:1" in result.err
    assert 2 <= result.seconds < 30
    told = small.ctl("describe", "machine", "lost").out
    assert told.startswith("machine lost is not ready: pending: no node fits: dead: ")
    small.ctl("delete", "-f", path, "--wait", "--timeout=30s")


def test_an_agent_that_has_another_token_or_cluster(small: Lab, labs: Labs) -> None:
    """A second control plane, with a token of its own and then with the agent's, claims the node."""
    small.apply(machine("here", "idle"), name="claimed")
    other = labs("docker")
    path = other.write(node(small, "stolen"))
    other.ctl("apply", "-f", path)
    until("the token is refused", lambda: "a valid bearer token" in reason(other))
    other.reconciler.end()
    other.agent_token.write_text(small.agent_token.read_text())
    other.reconciler.start()
    until("the cluster is refused", lambda: "of another cluster" in reason(other))
    assert small.get("node", "n1")["state"] == "ready"
    assert small.machine("here")["ready"]
    assert "3 s" in other.ctl("apply", "-f", path, "--wait", "--timeout=3s", code=3).err
    small.ctl("delete", "machine", "here", "--wait")


def reason(lab: Lab) -> str:
    return str(lab.get("node", "stolen")["reason"])


@pytest.fixture
def many(small: Lab) -> Iterator[Lab]:
    small.apply(*(machine(name, "idle") for name in MANY), name="many")
    yield small
    small.ctl("delete", "-f", small.write(name="empty"), code=None)


def test_too_much_at_once_needs_approval(many: Lab, engines: Engines) -> None:
    """Five machines by name, and the node they are on."""
    before = {found["Id"] for found in engines.containers(many)}
    empty = many.write(machine(MANY[0], "idle"), name="many")
    for words in (
        ("delete", "machine", *MANY),
        ("delete", "node", "n1"),
        ("apply", "-f", empty),
    ):
        refused(many.ctl(*words, code=None), "--approve", "more than 3 need your word", code=5)
    assert "it would need --approve" in many.ctl("plan", "-f", empty, code=2).out
    assert {found["Id"] for found in engines.containers(many)} == before
    many.ctl("delete", "machine", *MANY, "--approve", "--wait")
    assert engines.containers(many) == []


def test_a_node_with_machines_is_removed_last(small: Lab, engines: Engines) -> None:
    """Its machines are stopped there first; they wait for another node, and run again on it."""
    small.apply(machine("wanderer", "idle"), name="wanderer")
    before = engines.container(small, "wanderer")["Id"]
    small.ctl("delete", "node", "n1", "--wait")
    assert engines.containers(small) == []
    assert small.get("nodes") == []
    shown = small.machine("wanderer")
    assert (shown["state"], shown["node"]) == ("pending", None)
    print(shown["reason"])
    assert "node" in shown["reason"]
    small.apply(node(small), name="base2")
    until("it runs again", lambda: small.machine("wanderer")["ready"])
    assert engines.container(small, "wanderer")["Id"] != before
    small.ctl("delete", "machine", "wanderer", "--wait")
