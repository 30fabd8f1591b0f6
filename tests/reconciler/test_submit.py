"""Handing in desired state: whole or not at all, shown as it will be done."""

import threading
from dataclasses import replace

import pytest

from reconciler.core.desired import Change
from reconciler.core.model import NodeState, Seen
from reconciler.core.plan import Place
from reconciler.core.preview import Outcome
from reconciler.core.reconcile import reconcile
from reconciler.store import Stale
from reconciler.submit import Braked, Busy, Conflicts, Invalid
from tests.reconciler.world import SHA256, World, image, machine, node


def texts(outcome: Outcome) -> list[str]:
    return [f"{line.action} {line.kind} {line.name}" for line in outcome.lines]


def test_what_is_applied_is_stored_told_and_woken_for(world: World) -> None:
    world.upload()
    version = world.cluster.signal.version
    outcome = world.desk.apply([image(), machine("web")])
    assert texts(outcome) == ["create Image disk", "create Machine web"]
    assert (outcome.changed, outcome.revision) == (2, world.store.snapshot().revision)
    assert world.cluster.signal.version == version + 1
    assert [item.event.reason for item in world.store.events()] == ["Created", "Created"]
    found = world.store.snapshot().objects["Image", "disk"]
    assert (found.size, found.created, found.source) == (26, 1000.0, "api")


def test_the_same_again_changes_nothing_and_writes_nothing(world: World) -> None:
    world.upload()
    first = world.desk.apply([image(), machine("web")])
    writes, version = world.store.writes, world.cluster.signal.version
    again = world.desk.apply([image(), machine("web")], approve=True)
    assert again == Outcome(revision=first.revision, lines=(), changed=0)
    assert (world.store.writes, world.cluster.signal.version) == (writes, version)


def test_a_dry_run_shows_the_same_and_stores_nothing(world: World) -> None:
    world.upload()
    writes, version = world.store.writes, world.cluster.signal.version
    shown = world.desk.apply([image(), machine("web")], dry_run=True)
    assert (world.store.writes, world.cluster.signal.version) == (writes, version)
    assert world.desk.apply([image(), machine("web")]).lines == shown.lines


def test_all_documents_are_checked_and_none_applied(world: World) -> None:
    world.upload()
    documents = [machine("web", memory="lots"), image(), machine("Web"), {"kind": "Pod"}]
    with pytest.raises(Invalid) as caught:
        world.desk.apply(documents)
    assert {index for index, _ in caught.value.faults} == {0, 2, 3}
    assert world.store.snapshot().objects == {}


def test_one_name_twice_in_a_set_is_refused(world: World) -> None:
    world.upload()
    with pytest.raises(Invalid) as caught:
        world.desk.apply([image(), machine("web"), machine("web")])
    ((index, fault),) = caught.value.faults
    assert (index, fault.first) == (2, 1)


def test_an_image_needs_its_bytes_in_the_library(world: World) -> None:
    with pytest.raises(Invalid) as caught:
        world.desk.apply([machine("web"), image()])
    ((index, fault),) = caught.value.faults
    assert (index, fault.path, fault.message) == (1, ("spec", "sha256"), "the bytes are not here")


def test_an_image_must_have_the_format_that_it_declares(world: World) -> None:
    world.upload()
    document = image()
    document["spec"]["format"] = "qcow2"
    with pytest.raises(Invalid) as caught:
        world.desk.apply([document])
    ((_, fault),) = caught.value.faults
    assert fault.path == ("spec", "format")
    assert fault.message.startswith("the file is not a qcow2")


def test_an_image_without_digest_is_refused(world: World) -> None:
    document = image()
    document["spec"] = {"type": "libvirt", "file": "disk.raw"}
    with pytest.raises(Invalid) as caught:
        world.desk.apply([document])
    ((_, fault),) = caught.value.faults
    assert (fault.path, fault.message) == (("spec", "sha256"), "missing")


def test_an_image_that_is_there_already_needs_no_bytes_to_be_applied_again(world: World) -> None:
    world.upload()
    world.desk.apply([image()])
    world.library.keep((), now=1e12)
    assert not world.library.has(SHA256)
    assert world.desk.apply([image(), machine("web")]).changed == 1


def test_an_object_of_another_owner_is_a_conflict_that_names_it(world: World) -> None:
    world.upload()
    world.desk.apply([image(), machine("web")], source="git/shop")
    with pytest.raises(Conflicts) as caught:
        world.desk.apply([machine("web", memory="1Gi"), machine("other")])
    (conflict,) = caught.value.conflicts
    assert (conflict.kind, conflict.name, conflict.owner) == ("Machine", "web", "git/shop")
    assert ("Machine", "other") not in world.store.snapshot().objects


def test_prune_takes_only_what_the_source_owns(world: World) -> None:
    world.upload()
    world.desk.apply([image()])
    world.desk.apply([machine("a"), machine("b")], source="git")
    outcome = world.desk.apply([machine("b")], source="git", prune=True)
    assert texts(outcome) == ["delete Machine a"]


def test_deletion_marks_and_unknown_objects_are_conflicts(world: World) -> None:
    world.upload()
    world.desk.apply([image(), machine("web")])
    with pytest.raises(Conflicts, match="1 conflict; nothing was changed"):
        world.desk.delete([("Machine", "web"), ("Machine", "wbe")])
    outcome = world.desk.delete([("Machine", "web"), ("Machine", "web")])
    assert (outcome.changed, texts(outcome)) == (1, ["delete Machine web"])
    assert world.store.snapshot().objects["Machine", "web"].deleting
    assert world.desk.delete([("Machine", "web")]).changed == 0


def test_a_mass_deletion_needs_approval(world: World) -> None:
    world.run(6)
    keys = [("Machine", f"m{number:02}") for number in range(6)]
    shown = world.desk.delete(keys, dry_run=True)
    assert "6 running machines" in shown.brake
    with pytest.raises(Braked, match="6 running machines"):
        world.desk.delete(keys)
    assert not any(item.deleting for item in world.store.snapshot().objects.values())
    outcome = world.desk.delete(keys, approve=True)
    assert (outcome.changed, outcome.brake) == (6, "")


def test_few_deletions_do_not(world: World) -> None:
    world.run(6)
    assert world.desk.delete([("Machine", f"m{number:02}") for number in range(3)]).changed == 3


def test_a_write_of_the_controller_in_between_is_taken_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.upload()
    world.desk.apply([image(), node("node1"), machine("web")])
    submit, calls = world.store.submit, []

    def late(*args: object, **kwargs: object) -> int:
        calls.append(kwargs["revision"])
        if len(calls) == 1:
            current = world.store.snapshot()
            nodes = [item for item in current.objects.values() if item.manifest.kind == "Node"]
            again = replace(nodes[0], generation=7)
            change = Change(key=again.key, before=nodes[0], after=again)
            submit([change], revision=current.revision)
        return submit(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(world.store, "submit", late)
    assert world.desk.apply([machine("other")]).changed == 1
    assert calls == [2, 3]


def test_a_cluster_that_changes_too_fast_is_busy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.upload()

    def never(*_: object, **__: object) -> int:
        raise Stale("always")

    monkeypatch.setattr(world.store, "submit", never)
    with pytest.raises(Busy):
        world.desk.apply([image()])


def test_many_creations_of_one_name_make_one_object(world: World) -> None:
    world.upload()
    world.desk.apply([image()])
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(world.desk.apply([machine("web")])))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome.changed for outcome in outcomes) == [0] * 19 + [1]


def test_the_plan_that_was_shown_is_the_plan_that_is_made(world: World) -> None:
    """`plan` and the loop share one code: here is the proof."""
    world.upload()
    world.desk.apply([node("node1"), image()])
    outcome = world.desk.apply([machine("web")])
    operations = reconcile(world.cluster.snapshot()).operations
    places = [op for op in operations if isinstance(op, Place)]
    reasons = [line.reason for line in outcome.lines]
    assert [f"on {op.node}: {op.reason}" for op in places] in ([], reasons)


def test_an_unseen_cluster_plans_nothing_destructive(world: World) -> None:
    world.run(4)
    world.cluster.see("node1", Seen(NodeState.UNAVAILABLE, None, "no route"))
    assert world.desk.apply([machine("m00")], dry_run=True).lines == ()
