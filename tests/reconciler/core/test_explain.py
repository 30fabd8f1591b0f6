"""The lines of `plan`: what a submission does to each object, and what follows for others."""

from itertools import count
from typing import Any

import pytest

from manifests.kinds import Manifest
from manifests.scalars import Uid
from reconciler.core.desired import Change, apply_changes, delete, merge
from reconciler.core.explain import plan_lines
from reconciler.core.model import Key, Snapshot
from reconciler.core.reconcile import reconcile
from tests.scenarios.given import Data, declared, image, machine, node, snapshot


def text(before: Snapshot, changes: tuple[Change, ...]) -> list[str]:
    after = apply_changes(before, changes)
    found = []
    for line in plan_lines(after, changes, reconcile(after)):
        reason = f": {line.reason}" if line.reason else ""
        fields = [f"{it.field} {it.old} -> {it.new} ({it.effect}, {it.why})" for it in line.changes]
        found.append(
            f"{line.action} {line.kind} {line.name}{reason}" + "".join(map(" | ".__add__, fields))
        )
    return found


def applied(given: Data, *manifests: Manifest, prune: bool = False) -> list[str]:
    before, numbers = snapshot(given), count(1)
    result = merge(
        before,
        manifests,
        source="test",
        prune=prune,
        new_uid=lambda: Uid(f"new-{next(numbers)}"),
        now=0,
    )
    assert result.conflicts == ()
    return text(before, result.changes)


def deleted(given: Data, *keys: Key) -> list[str]:
    before = snapshot(given)
    return text(before, delete(before, keys, source="api").changes)


WEB: Data = {"machines": {"web": {}}, "placements": {"web@1": "n1"}}


def test_nothing_changes() -> None:
    assert applied(WEB, machine("web").manifest) == []


def test_created_with_its_place() -> None:
    assert applied({}, machine("web").manifest) == ["create Machine web: on n1: the only node"]


def test_created_without_a_place() -> None:
    given: Data = {"nodes": {"n1": {"engines": {}}}}
    assert applied(given, machine("web").manifest) == [
        "create Machine web: no node fits: n1: has no docker"
    ]


def test_a_node_and_an_image_are_created_without_further_ado() -> None:
    assert applied({}, node("n2").manifest, image("new").manifest) == [
        "create Node n2",
        "create Image new",
    ]


@pytest.mark.parametrize(
    ("type_", "spec", "line"),
    [
        (
            "docker",
            {"memory": "1Gi"},
            "update Machine web | memory 256Mi -> 1Gi"
            " (in place, the engine changes limits of a running container)",
        ),
        (
            "libvirt",
            {"memory": "1Gi"},
            "restart Machine web | memory 256Mi -> 1Gi"
            " (restart, the disk stays; the guest boots with the new size)",
        ),
        (
            "docker",
            {"command": ["run"]},
            "replace Machine web | command [] -> ['run']"
            " (replace, a container's command is fixed when it is created)",
        ),
        (
            "docker",
            {"node": "n1"},
            "update Machine web | node None -> n1 (in place, it is so already)",
        ),
    ],
)
def test_changed_with_what_it_means(type_: str, spec: dict[str, Any], line: str) -> None:
    assert applied(WEB | {"images": {"app": {"type": type_}}}, machine("web", **spec).manifest) == [
        line
    ]


def test_changed_but_it_does_not_fit() -> None:
    (line,) = applied(WEB, machine("web", memory="1Ti").manifest)
    assert line.startswith(
        "update Machine web: cannot change memory: n1 needs 1024Gi of memory, 4Gi of 4Gi is free | "
    )


def test_to_be_replaced_but_there_is_no_place() -> None:
    (line,) = applied(WEB, machine("web", node="n9").manifest)
    assert line.startswith("replace Machine web: cannot be replaced: node n9 does not exist | ")


def test_what_waited_before_is_not_the_submissions_doing() -> None:
    """A machine whose replacement has no place is named by what caused it, and only by that."""
    stuck: Data = {
        "nodes": {"n1": {"spec": {"capacity": {"memory": "512Mi"}}}, "n2": {}},
        "images": {"app": {"bytes": "new"}, "other": {}},
        "machines": {"web": {"node": "n1", "memory": "1Gi"}},
        "placements": {"web@1": {"node": "n1", "bytes": "old", "was": {"memory": "256Mi"}}},
    }
    before = snapshot(stuck)
    assert any(wait.stops for wait in reconcile(before).waits)
    other = machine("new", image="other").manifest
    result = merge(before, [other], source="test", prune=False, new_uid=lambda: Uid("u"), now=0)
    after = apply_changes(before, result.changes)
    lines = plan_lines(after, result.changes, reconcile(after), reconcile(before))
    assert [line.name for line in lines] == ["new"]
    assert "web" in [line.name for line in plan_lines(after, (), reconcile(after))]


def test_changed_before_it_was_ever_placed() -> None:
    given: Data = {"nodes": {"n1": {"silent": True}}, "machines": {"web": {}}}
    assert applied(given, machine("web", memory="1Gi").manifest) == [
        "update Machine web: no node fits: n1: has not reported yet | memory 256Mi -> 1Gi (None, )"
    ]


def test_labels_select_and_nothing_else() -> None:
    labelled = declared("Machine", "web", {"image": "app"}).manifest
    labelled = type(labelled)(
        kind="Machine", name=labelled.name, spec=labelled.spec, labels={"app": "shop"}
    )
    assert applied(WEB, labelled) == [
        "update Machine web | labels {} -> {'app': 'shop'} (in place, for selecting only)"
    ]


def test_deleted_with_its_owner() -> None:
    assert deleted(WEB, ("Machine", "web")) == [
        "delete Machine web: deleted by api; test will make it again"
    ]


def test_pruned() -> None:
    kept = [image("app").manifest, node("n1").manifest]
    assert applied(WEB, *kept, prune=True) == ["delete Machine web: no longer in test"]


def test_other_bytes_replace_the_machines_of_the_image() -> None:
    given: Data = {"machines": {"a": {}, "b": {}}, "placements": {"a@1": "n1", "b@1": "n1"}}
    lines = applied(given, image("app", bytes="new").manifest)
    assert lines[0].startswith("update Image app | sha256 ")
    assert lines[1:] == [
        "replace Machine a: image: the image has other bytes",
        "replace Machine b: image: the image has other bytes",
    ]


def test_a_node_that_goes_takes_its_machines_along() -> None:
    given = WEB | {"nodes": {"n1": {}, "n2": {}}}
    assert deleted(given, ("Node", "n1")) == [
        "delete Node n1: deleted by api; test will make it again",
        "replace Machine web: node n1 is being removed",
    ]


def test_what_goes_already_is_no_work_of_this_submission() -> None:
    given: Data = {
        "nodes": {"n1": {"shows": ["late@1"]}, "n2": {}},
        "machines": {"late": {}, "old": {"deleting": True}},
        "placements": {"late@2": "n2", "old@1": "n2"},
        "gone": {"late@1": "n1"},
    }
    assert applied(given, node("n3").manifest) == ["create Node n3"]
