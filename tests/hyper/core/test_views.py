"""What is known of the engines when looks end in another order than they began."""

from hyper.core.model import Life, View
from hyper.core.views import Engine, Views
from manifests.wire import Foreign
from tests.hyper.making import DOCKER, LIBVIRT, instance

OLD, NEW = instance(life=Life.STOPPED), instance(life=Life.RUNNING)
FOREIGN = (Foreign(type=DOCKER, name="theirs"),)


def known(engine: Engine) -> list[Life]:
    return [item.life for item in engine.instances.values()]


def test_nothing_is_known_before_the_first_look() -> None:
    views = Views((DOCKER, LIBVIRT))
    assert [engine.known for engine in views.engines.values()] == [False, False]
    assert views.by_uid() == {}


def test_a_full_look_says_what_there_is_and_no_more() -> None:
    engine = Engine()
    engine.looked(View((instance("a"), instance("b")), FOREIGN), 1)
    engine.looked(View((instance("b"),)), 2)
    assert engine.known
    assert [item.handle for item in engine.instances.values()] == ["b-1"]
    assert engine.foreign == ()


def test_a_late_full_look_does_not_undo_a_later_look_at_one() -> None:
    engine = Engine()
    engine.inspected(NEW.handle, NEW, 2)
    engine.looked(View((OLD, instance("other"))), 1)
    assert known(engine) == [Life.RUNNING, Life.RUNNING]


def test_a_late_full_look_does_not_bring_back_what_is_gone() -> None:
    engine = Engine()
    engine.inspected(OLD.handle, None, 2)
    engine.looked(View((OLD,)), 1)
    assert known(engine) == []
    engine.looked(View((OLD,)), 3)
    assert known(engine) == [Life.STOPPED]


def test_a_late_full_look_does_not_lose_what_is_new() -> None:
    """It began before the instance was made, and ended after."""
    engine = Engine()
    engine.inspected(NEW.handle, NEW, 2)
    engine.looked(View(), 1)
    assert known(engine) == [Life.RUNNING]
    engine.looked(View(), 3)
    assert known(engine) == []


def test_a_late_look_at_one_does_not_undo_a_later_one() -> None:
    engine = Engine()
    engine.inspected(NEW.handle, NEW, 2)
    engine.inspected(NEW.handle, OLD, 1)
    engine.inspected(NEW.handle, None, 1)
    assert known(engine) == [Life.RUNNING]


def test_a_late_look_at_one_does_not_undo_a_full_look() -> None:
    engine = Engine()
    engine.looked(View((NEW,)), 2)
    engine.inspected(NEW.handle, None, 1)
    assert known(engine) == [Life.RUNNING]


def test_every_order_of_ending_leads_to_the_newest() -> None:
    def one(engine: Engine) -> None:
        engine.looked(View((OLD,)), 1)

    def two(engine: Engine) -> None:
        engine.inspected(NEW.handle, OLD, 2)

    def three(engine: Engine) -> None:
        engine.inspected(NEW.handle, NEW, 3)

    for order in ((one, two, three), (three, two, one), (two, three, one), (three, one, two)):
        engine = Engine()
        for ended in order:
            ended(engine)
        assert known(engine) == [Life.RUNNING]
        assert engine.known


def test_an_engine_that_does_not_answer_is_unknown_not_empty() -> None:
    views = Views((DOCKER, LIBVIRT))
    views.engines[DOCKER].looked(View((NEW,)), 1)
    vm = instance("vm", type=LIBVIRT)
    views.engines[LIBVIRT].looked(View((vm,)), 2)
    views.engines[DOCKER].looked(View(error="dockerd is down"), 3)
    assert views.engines[DOCKER].error == "dockerd is down"
    assert list(views.instances()) == [vm]
    views.engines[DOCKER].looked(View((NEW,)), 4)
    assert views.engines[DOCKER].error == ""
    assert list(views.instances()) == [NEW, vm]


def test_by_uid_the_earliest_epoch_comes_first() -> None:
    views = Views((DOCKER,))
    views.engines[DOCKER].looked(View((instance(epoch=3), instance(epoch=1), instance(epoch=2))), 1)
    assert [item.epoch for item in views.by_uid()[NEW.uid]] == [1, 2, 3]
