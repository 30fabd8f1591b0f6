"""What the agent must remember rightly: ports it could not publish, images of before its start,
machines that it stopped itself."""

from dataclasses import replace
from pathlib import Path

from hyper.core.publishing import CHECK
from hyper.core.shelf import AGAIN
from hyper.core.steps import Publish
from hyper.drivers import DriverError
from hyper.drivers.simulated import down
from hyper.images import ImageCache
from manifests.kinds.image import ImageFormat
from manifests.kinds.machine import PowerState, RestartPolicy
from manifests.scalars import Port, Sha256
from manifests.wire import ImagePhase, ImageRef, Phase
from tests.hyper.making import DOCKER, LIBVIRT, assignment, exchange, placement
from tests.hyper.rig import Node, names


def port(text: str) -> Port:
    return Port.from_json(text)


def test_a_port_of_the_node_itself_is_not_taken_over(tmp_path: Path) -> None:
    node, ssh = Node(tmp_path, LIBVIRT), port("2222:22")
    node.ports.taken = {ssh: "port 2222/tcp of this node is in use by another program"}
    web = placement("web", type=LIBVIRT, ports=(port("8080:80"),))
    node.told(assignment(placement("vm", type=LIBVIRT, ports=(ssh,)), web))
    found = node.machine("vm")
    assert (found.phase, found.reason) == (Phase.STARTING, node.ports.taken[ssh])
    assert node.machine("web").phase is Phase.RUNNING
    node.ports.taken = {}
    node.later(CHECK)
    assert node.machine("vm").phase is Phase.RUNNING


def test_what_is_published_is_compared_with_the_kernel_now_and_then(tmp_path: Path) -> None:
    node = Node(tmp_path, LIBVIRT)
    node.told(assignment(placement("vm", type=LIBVIRT, ports=(port("8080:80"),))))
    before = node.report
    assert [step for step in node.later(CHECK - 1) if isinstance(step, Publish)] == []
    assert len([step for step in node.later(CHECK) if isinstance(step, Publish)]) == 1
    assert node.report is before


def with_bytes(node: Node) -> ImageRef:
    """An image that is here, and takes room."""
    ref = ImageRef(sha256=Sha256("f" * 64), format=ImageFormat.DOCKER_ARCHIVE, size=1000)
    (node.root / "images" / ref.sha256).write_bytes(bytes(1000))
    return ref


def test_an_image_in_use_stays_however_short_the_room_is(tmp_path: Path) -> None:
    node = Node(tmp_path, limit=0)
    node.told(assignment(placement(image=with_bytes(node))))
    assert node.images.short() > 0
    assert names(node.later(1e6)) == []
    node.boot()
    assert names(node.later(1e6)) == []
    assert [it.phase for it in node.report.images] == [ImagePhase.READY]


def test_an_image_of_an_instance_that_is_still_there_stays(tmp_path: Path) -> None:
    node = Node(tmp_path, limit=0)
    node.told(assignment(placement(image=with_bytes(node))))
    node.engine.fault = lambda call: DriverError(call) if call == "remove" else None
    node.told(assignment(generation=2, leaving=[("web", 1)]))
    node.notify()
    assert "discard" not in names(node.settle())
    node.engine.fault = None
    assert names(node.later(3600)) == ["remove", "discard"]
    assert (node.report.images, node.images.short()) == ((), 0)


def test_what_a_stopped_vm_rests_on_stays_whatever_is_forgotten(tmp_path: Path) -> None:
    """Its disk is only what differs from the image."""
    node = Node(tmp_path, LIBVIRT, limit=0)
    base = replace(with_bytes(node), format=ImageFormat.RAW)
    file = node.root / "images" / base.sha256
    vm = placement("vm", type=LIBVIRT, image=base)
    node.told(assignment(vm))
    node.told(assignment(replace(vm, state=PowerState.STOPPED), generation=2))
    node.later(1e6)
    assert (node.machine("vm").phase, file.exists()) == (Phase.STOPPED, True)

    node.images = ImageCache(node.root / "images", limit=0)
    node.boot()
    node.later(1e6)
    assert file.exists()
    node.told(assignment(generation=3))  # in no assignment, and its removal was not ordered
    node.later(1e6)
    assert file.exists()

    node.told(assignment(generation=4, leaving=[("vm", 1, LIBVIRT)]))
    assert not file.exists()


def test_of_an_engine_that_does_not_answer_nothing_goes(tmp_path: Path) -> None:
    """What its instances rest on is not known."""
    node = Node(tmp_path, limit=0)
    node.told(assignment(placement(image=with_bytes(node))))
    node.engine.fault = down
    node.notify()
    node.told(assignment(generation=2, leaving=[("web", 1)]))
    assert "discard" not in names(node.later(3600))
    node.engine.fault = None
    assert "discard" in names(node.later(3600))


def test_an_image_from_before_the_start_is_dropped_when_its_room_is_needed(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.told(assignment(placement(image=with_bytes(node))))
    node.told(assignment(generation=2, leaving=[("web", 1)]))
    assert names(node.later(1e6)) == []
    node.images = ImageCache(node.root / "images", limit=0)
    node.boot()
    assert names(node.later(10)) == ["discard"]
    assert node.engine.images == set()
    assert [it for it in node.images.stock() if it.type is DOCKER] == []


def test_a_discard_that_failed_is_tried_again(tmp_path: Path) -> None:
    node = Node(tmp_path, limit=0)
    node.told(assignment(placement(image=with_bytes(node))))
    node.engine.fault = lambda call: DriverError(call) if call == "discard" else None
    node.agent.exchange(exchange(assignment(generation=2, leaving=[("web", 1)])))
    assert names(node.settle()) == ["remove", "discard"]
    node.engine.fault = None
    assert names(node.later(AGAIN - 1)) == []
    assert names(node.later(1)) == ["discard"]
    assert names(node.later(AGAIN)) == []


def test_a_stop_that_never_happened_leaves_the_restart_policy_its_say(tmp_path: Path) -> None:
    node = Node(tmp_path)
    never = placement(restart=RestartPolicy.NEVER)
    node.told(assignment(never))
    stopped = placement(restart=RestartPolicy.NEVER, state=PowerState.STOPPED)
    node.agent.exchange(exchange(assignment(stopped, generation=2)))
    node.boot()  # killed before it stopped anything
    node.told(assignment(never, generation=3))
    assert node.machine().phase is Phase.RUNNING
    node.engine.finish(never.uid)
    node.settle()
    found = node.machine()
    assert (found.phase, found.final) == (Phase.STOPPED, True)


def test_a_machine_that_cannot_be_started_is_deleted_at_once(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.engine.fault = lambda call: OSError(call) if call == "start" else None
    node.told(assignment(placement()))
    for _ in range(5):
        node.later(60)
    node.engine.fault = None
    node.told(assignment(generation=2, leaving=[("web", 1)]))
    assert node.report.machines == ()


def test_a_vm_that_runs_when_the_agent_starts_runs(tmp_path: Path) -> None:
    node = Node(tmp_path, LIBVIRT)
    node.told(assignment(placement("vm", type=LIBVIRT, ports=(port("8080:80"),))))
    node.boot()
    phases = set()
    while steps := node.tick():
        phases |= {item.phase for item in node.report.machines}
        for step in steps:
            node.perform(step)
    assert phases <= {Phase.RUNNING}
    assert node.machine("vm").phase is Phase.RUNNING
