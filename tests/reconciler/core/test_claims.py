"""Ports that are not to be had: refused at submission, with the owner; and what is no refusal."""

from typing import Any

import pytest
import yaml

from tests.reconciler.core.test_desired import apply, messages, web
from tests.scenarios.given import image, node, snapshot

ON_N1 = {"ports": ["8080:80"], "node": "n1"}
HELD = """
nodes: {n1: {}, n2: {}}
images: {app: {}, disk: {type: libvirt}}
machines: {old: {ports: ["8080:80"]}}
placements: {old@1: n1}
"""
LISTENED = """
nodes:
  n1: {listens: {8080/tcp: nginx, 8081/tcp: ""}, foreign: {blog: [8082/tcp]}}
machines: {}
"""
TWO_ON_ONE_HOST = """
nodes: {n1: {}, n2: {foreign: {iaas-old: [8080/tcp]}}}
machines: {old: {ports: ["8080:80"]}}
placements: {old@1: n1}
"""
WAITING = """
nodes: {n1: {}, n2: {}}
machines: {first: {ports: ["8080:80"]}, second: {ports: ["8080:80"], node: n2}}
placements: {}
"""


def refused(given: str, *machines: Any, **more: Any) -> list[str]:
    return messages(apply(snapshot(yaml.safe_load(given)), *machines, **more))


@pytest.mark.parametrize(
    ("given", "spec", "told"),
    [
        (HELD, ON_N1, "port 8080/tcp of node 'n1' is taken by machine old"),
        (HELD, {"ports": ["7701:1"], "node": "n1"}, "7701/tcp of node 'n1' is taken by the node's"),
        (
            HELD,
            {"ports": ["22:22"], "node": "n1"},
            "22/tcp of node 'n1' is taken by the node's ssh",
        ),
        (
            HELD,
            {"ports": ["22:22"], "node": "n9"},
            "22/tcp of node 'n9' is taken by the node's ssh",
        ),
        (
            HELD,
            {"ports": ["22:22"]},
            "port 22/tcp is free on no node: n1: the node's ssh | n2: the",
        ),
        (LISTENED, ON_N1, "port 8080/tcp of node 'n1' is taken by program nginx; choose another"),
        (LISTENED, ON_N1 | {"ports": ["8081:80"]}, "8081/tcp of node 'n1' is taken by a program"),
        (LISTENED, ON_N1 | {"ports": ["8082:80"]}, "of node 'n1' is taken by container blog"),
        (LISTENED, {"ports": ["8080:80"]}, "is free on no node: n1: program nginx; choose another"),
        (TWO_ON_ONE_HOST, ON_N1 | {"node": "n2"}, "of node 'n2' is taken by machine old on n1"),
        (TWO_ON_ONE_HOST, {"ports": ["8080:80"]}, "n1: machine old | n2: machine old on n1"),
        (WAITING, ON_N1, "port 8080/tcp is free on no node: n2: machine second | machine first, w"),
        (WAITING, {"ports": ["8080:80"]}, "n2: machine second | machine first, which is to be pl"),
    ],
)
def test_a_port_that_is_taken_is_refused(given: str, spec: dict[str, Any], told: str) -> None:
    (message,) = refused(given, web(**spec))
    assert message.startswith("machine 'web': port ")
    assert told in message


@pytest.mark.parametrize(
    ("given", "spec"),
    [
        (HELD, ON_N1 | {"node": "n2"}),
        (HELD, ON_N1 | {"ports": ["8080:80/udp", "8081:80"]}),
        (HELD, {"ports": ["8080:80"]}),
        (LISTENED, ON_N1 | {"ports": ["8080:80/udp"]}),
        (LISTENED.replace("{listens", "{state: unavailable, listens"), ON_N1),
        ("nodes: {n1: {silent: true}}", ON_N1),
        ("nodes: {}", ON_N1),
        ("nodes: {}", {"ports": ["8080:80"]}),
        (WAITING, ON_N1 | {"node": "n9"}),
    ],
)
def test_what_is_free_or_not_known_is_not_refused(given: str, spec: dict[str, Any]) -> None:
    assert refused(given, web(**spec)) == []


def test_who_is_about_to_give_the_port_up_is_in_nobodys_way() -> None:
    old = {"ports": ["8080:80"], "image": "disk"}
    held = HELD.replace('{ports: ["8080:80"]}', '{ports: ["8080:80"], image: disk}')
    asking = web(**ON_N1)
    assert refused(held, asking, web("old", **old)) != []
    assert refused(held, asking, web("old", **old | {"ports": []})) == []
    assert refused(held, asking, web("old", **old | {"node": "n2"})) == []
    kept = [node("n1").manifest, node("n2").manifest, image("app").manifest]
    assert refused(held, *kept, asking, prune=True) == []
    leaving = held.replace("{ports: [", "{deleting: true, ports: [")
    assert refused(leaving, asking) == []
    beside = TWO_ON_ONE_HOST.replace("{ports: [", "{deleting: true, ports: [")
    assert refused(beside, web(**ON_N1 | {"node": "n2"})) == []


def test_who_stops_keeps_its_port() -> None:
    held = HELD.replace("{ports: [", "{state: stopped, ports: [")
    assert len(refused(held, web(**ON_N1))) == 1


def test_no_machine_is_in_its_own_way() -> None:
    for given in (HELD, TWO_ON_ONE_HOST, HELD.replace("n1: {}", "n1: {listens: {8080/tcp: x}}")):
        for node_ in ("n1", "n2"):
            assert refused(given, web("old", ports=["8080:80"], node=node_)) == []
        assert refused(given, web("old", ports=["8080:80"], memory="1Gi")) == []
    assert refused(HELD, web("old", ports=["8080:81", "8081:80"])) == []


def test_a_port_more_is_asked_for_where_the_machine_stays() -> None:
    """A VM gets it where it is, a container is made anew wherever it is free."""
    both = HELD.replace("machines: {", 'machines: {web: {image: disk, ports: ["80:80"]}, ')
    both = both.replace("placements: {", "placements: {web@1: n1, ")
    more = {"ports": ["80:80", "8080:80"]}
    (message,) = refused(both, web(image="disk", **more))
    assert "port 8080/tcp of node 'n1' is taken by machine old" in message
    assert refused(both.replace("image: disk, ", ""), web(**more)) == []


def test_within_one_submission_the_first_by_name_gets_it() -> None:
    def told(*machines: Any) -> list[str]:
        given = "{nodes: {n1: {}, n2: {}}}"
        return [message.partition(":")[0] for message in refused(given, *machines)]

    asking = [web(name, ports=["8080:80"]) for name in ("c", "b", "a")]
    assert told(*asking) == ["machine 'c'"]
    pinned = [web(name, **ON_N1) for name in ("b", "a", "c")]
    assert told(*pinned) == ["machine 'b'", "machine 'c'"]
    assert told(web("a", ports=["8080:80"]), web("b", **ON_N1)) == []


def test_the_owner_is_named_for_programs() -> None:
    result = apply(snapshot(yaml.safe_load(HELD)), web(**ON_N1))
    assert [(it.kind, it.name, it.owner) for it in result.conflicts] == [
        ("Machine", "web", "machine old")
    ]


def test_what_a_submission_brings_along_counts() -> None:
    """A node and its machine handed in together: the agent's port is known from the manifest."""
    (message,) = refused(
        "{nodes: {}, images: {}}",
        node("n1").manifest,
        image("app").manifest,
        web(ports=["7701:1"], node="n1"),
    )
    assert "port 7701/tcp of node 'n1' is taken by the node's agent" in message
