"""Merging what is submitted with what is desired: who owns it, what is new, what goes."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from manifests.kinds import Manifest
from manifests.scalars import Uid
from reconciler.core.desired import Change, Merge, apply_changes, delete, merge
from reconciler.core.model import Snapshot
from tests.scenarios.given import image, machine, node, snapshot, uid


def web(name: str = "web", **spec: Any) -> Manifest:
    return machine(name, **spec).manifest


def apply(
    before: Snapshot, *manifests: Manifest, source: str = "test", prune: bool = False
) -> Merge:
    numbers = count(1)
    return merge(
        before,
        manifests,
        source=source,
        prune=prune,
        new_uid=lambda: Uid(f"new-{next(numbers)}"),
        now=12.34567,
        sizes=lambda sha256: 7,
    )


def words(changes: Sequence[Change]) -> list[str]:
    return [
        f"{'create' if not item.before else 'update' if item.after else 'delete'} {item.key[1]}"
        for item in changes
    ]


def messages(result: Merge) -> list[str]:
    return [conflict.message for conflict in result.conflicts]


BEFORE = snapshot({"machines": {"web": {}}})


def test_what_is_new_is_created() -> None:
    result = apply(BEFORE, web("db"))
    (change,) = result.changes
    assert words(result.changes) == ["create db"]
    assert result.conflicts == ()
    assert change.after is not None
    assert (change.after.uid, change.after.source, change.after.generation) == ("new-1", "test", 1)
    assert change.after.created == 12.346


def test_an_image_knows_the_size_of_its_bytes() -> None:
    (change,) = apply(BEFORE, image("new").manifest).changes
    assert change.after is not None
    assert change.after.size == 7


def test_what_is_so_already_changes_nothing() -> None:
    assert apply(BEFORE, web(), image("app").manifest, node("n1").manifest) == Merge()


def test_what_is_otherwise_is_changed_and_keeps_its_uid() -> None:
    (change,) = apply(BEFORE, web(memory="1Gi")).changes
    assert change.before is not None
    assert change.after is not None
    assert (change.after.uid, change.after.generation) == (uid("web"), 2)
    assert change.after.created == change.before.created


def test_labels_count_as_a_change() -> None:
    labelled = replace(web(), labels={"app": "shop"})
    assert words(apply(BEFORE, labelled).changes) == ["update web"]


def test_what_belongs_to_another_is_refused_with_its_owner() -> None:
    result = apply(BEFORE, web(memory="1Gi"), web("db"), source="git")
    assert messages(result) == [
        "machine 'web' belongs to test, not to git; to hand it over, apply it as that owner"
    ]
    assert result.conflicts[0].owner == "test"


def test_what_is_on_its_way_out_is_refused() -> None:
    before = snapshot({"machines": {"web": {"deleting": True}}})
    assert messages(apply(before, web())) == [
        "machine 'web' is being deleted; apply again when it is gone"
    ]


def test_without_prune_nothing_goes() -> None:
    assert apply(BEFORE, web("db")).changes[0].key == ("Machine", "db")
    assert len(apply(BEFORE, web("db")).changes) == 1


def test_prune_deletes_the_rest_of_its_source_and_nothing_of_others() -> None:
    others = replace(web("theirs"), labels={"by": "git"})
    before = apply_changes(BEFORE, apply(BEFORE, others, source="git").changes)
    kept = [image("app").manifest, node("n1").manifest]
    result = apply(before, *kept, prune=True)
    assert words(result.changes) == ["delete web"]
    assert result.conflicts == ()


def test_prune_of_nothing_but_what_is_submitted() -> None:
    assert words(apply(snapshot({}), web(), prune=True).changes) == [
        "create web",
        "delete app",
        "delete n1",
    ]


def test_prune_leaves_alone_what_is_deleted_already() -> None:
    before = snapshot({"machines": {"web": {"deleting": True}}})
    kept = [image("app").manifest, node("n1").manifest]
    assert apply(before, *kept, prune=True) == Merge()


def test_a_machine_needs_its_image() -> None:
    assert messages(apply(BEFORE, web("db", image="none"))) == [
        "machine 'db' starts from image 'none', which does not exist"
    ]


def test_a_machine_and_its_image_may_come_together_in_any_order() -> None:
    result = apply(BEFORE, web("db", image="new"), image("new").manifest)
    assert words(result.changes) == ["create db", "create new"]
    assert result.conflicts == ()


def test_an_image_in_use_cannot_go() -> None:
    assert messages(delete(BEFORE, [("Image", "app")], source="test")) == [
        "image 'app' is in use by machine 'web'"
    ]


def test_an_image_may_go_with_its_last_machine() -> None:
    result = delete(BEFORE, [("Image", "app"), ("Machine", "web")], source="test")
    assert words(result.changes) == ["delete app", "delete web"]
    assert result.conflicts == ()


def test_an_image_may_go_while_its_last_machine_leaves() -> None:
    before = snapshot({"machines": {"web": {"deleting": True}}})
    assert delete(before, [("Image", "app")], source="test").conflicts == ()


def test_a_new_machine_cannot_start_from_an_image_that_goes() -> None:
    before = snapshot({"images": {"app": {"deleting": True}}})
    assert messages(apply(before, web())) == [
        "machine 'web' needs image 'app', which is being deleted"
    ]


def test_a_machine_of_another_type_than_its_image() -> None:
    assert messages(apply(BEFORE, web(type="libvirt"))) == [
        "machine 'web' is of type libvirt, but image 'app' is for docker"
    ]


def test_an_image_cannot_change_its_type_under_a_machine_that_names_one() -> None:
    before = snapshot({"machines": {"web": {"type": "docker"}}})
    (conflict,) = apply(before, image("app", type="libvirt").manifest).conflicts
    assert (conflict.kind, conflict.name) == ("Image", "app")


def test_deleting_what_is_not_there() -> None:
    assert messages(delete(BEFORE, [("Machine", "nope"), ("Node", "n1")], source="test")) == [
        "there is no machine 'nope'"
    ]


def test_deleting_twice_is_one_deletion() -> None:
    before = snapshot({"machines": {"web": {"deleting": True}}})
    assert delete(before, [("Machine", "web")], source="test") == Merge()


def test_all_conflicts_are_told_at_once() -> None:
    result = apply(BEFORE, web("a", image="x"), web("b", image="y"), web("c", type="libvirt"))
    assert len(result.conflicts) == 3


def test_changes_applied_give_the_snapshot_to_be() -> None:
    changes = (
        *apply(BEFORE, web("db")).changes,
        *delete(BEFORE, [("Machine", "web")], source="test").changes,
    )
    after = apply_changes(BEFORE, changes)
    assert after.objects["Machine", "web"].deleting
    assert ("Machine", "db") in after.objects
    assert not BEFORE.objects["Machine", "web"].deleting
