"""What every driver must do, whatever its engine: one suite, run for each entry of `DRIVERS`.

Here: the tests, and `Rig`, the hands with which they disturb an engine from outside, behind the
driver's back. Not here: anything that only one engine has.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import pytest

from hyper.core.model import Instance, Life
from hyper.drivers import Driver, DriverError, EngineDown, Refused
from manifests.kinds.image import MachineType
from manifests.scalars import Cpus, Memory, Name, Uid
from manifests.wire import Foreign, ImageRef, Placement

DEADLINE = 60.0
"""Seconds after which something that should happen is said never to happen."""


UNKNOWN = "5f6c8b1e-0000-4000-8000-000000000000"
"""A handle as libvirt has them, of nothing."""


class Rig(ABC):
    """One engine for one test run. Made once per driver; `clean` runs after every test."""

    type: MachineType
    memory = (Memory(64), Memory(96))
    cpus = (Cpus(1000), Cpus(2000))
    makes_images = True
    """Whether `prepare` leaves something on the engine that `discard` removes."""
    pulls = True
    """Whether the engine gets images from registries itself."""
    can_pause = True

    image: ImageRef
    """A good image. What it runs ends at once and cleanly when it is asked to stop."""
    path: Path

    def __init__(self, directory: Path) -> None:
        """`directory` lives as long as the rig."""
        self.directory = directory
        self.cluster = str(uuid4())
        self.other_cluster = str(uuid4())
        self._drivers: list[Driver] = []

    # -- to be filled in for each engine

    @abstractmethod
    def new_driver(self) -> Driver:
        """A driver for the engine, not yet bound."""

    @abstractmethod
    def unreachable_driver(self) -> Driver:
        """A driver, not yet bound, whose engine does not answer."""

    @abstractmethod
    def fresh_image(self) -> tuple[ImageRef, Path]:
        """A good image that was never prepared."""

    @abstractmethod
    def broken_image(self) -> tuple[ImageRef, Path]:
        """An image whose bytes are not what their format says."""

    def missing_image(self) -> tuple[ImageRef, Path]:
        """An image whose bytes are not where they should be."""
        image, path = self.fresh_image()
        return image, path.with_name("nothing")

    @abstractmethod
    def pulled_image(self) -> ImageRef:
        """An image of a registry, never prepared; its engine may refuse any such (`pulls`)."""

    @abstractmethod
    def prepared(self, image: ImageRef) -> bool:
        """Whether the engine still holds what `prepare` made."""

    @abstractmethod
    def kill(self, handle: str) -> None:
        """Kill the running instance, as a crash would (SIGKILL)."""

    @abstractmethod
    def finish(self, handle: str) -> None:
        """Make the running instance end by itself, and well. May pytest.skip with a reason."""

    @abstractmethod
    def vanish(self, handle: str) -> None:
        """Remove the instance from the engine."""

    def pause(self, handle: str) -> None:
        """Pause the running instance."""
        raise NotImplementedError

    @abstractmethod
    def add_foreign(self, name: str) -> str:
        """Start something of that name that is not ours; its handle."""

    @abstractmethod
    def foreign_runs(self, handle: str) -> bool: ...

    @abstractmethod
    def remove_foreign(self) -> None:
        """Remove all that `add_foreign` made; runs after every test."""

    @abstractmethod
    def remains(self, uid: str) -> list[str]:
        """Whatever the engine and its directories hold of this uid, as text for a message."""

    @abstractmethod
    def instance_name(self, placement: Placement) -> str:
        """The engine's name of the instance that `placement` would become."""

    def close(self) -> None:  # noqa: B027 (an engine may need none)
        """The end of the test run: leave the engine as it was found."""

    # -- the same for all

    def driver(self, cluster: str | None = None) -> Driver:
        driver = self.new_driver()
        self._drivers.append(driver)
        driver.bind(cluster or self.cluster)
        return driver

    def placement(self, **changes: Any) -> Placement:
        values: dict[str, Any] = {
            "uid": Uid(uuid4()),
            "epoch": 1,
            "name": Name("web"),
            "type": self.type,
            "image": self.image,
            "memory": self.memory[0],
            "cpus": self.cpus[0],
            "digest": "d" * 64,
        }
        return Placement(**(values | changes))

    def clean(self) -> None:
        for cluster in (self.cluster, self.other_cluster):
            driver = self.driver(cluster)
            for instance in driver.observe().instances:
                driver.remove(instance.handle)
            assert driver.observe().instances == ()
        for driver in self._drivers:
            driver.close()
        self._drivers.clear()
        self.remove_foreign()


class Heard:
    """What a driver tells: wait for a notification after which something holds."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[str | None] = SimpleQueue()

    def __call__(self, handle: str | None) -> None:
        self._queue.put(handle)

    def until(
        self, handle: str, holds: Callable[[], bool], or_anything: bool = False
    ) -> list[str | None]:
        """Wait until told of `handle` while `holds`; all that was told until then.

        `or_anything`: being told to look at everything (None) is as good.
        """
        deadline = time.monotonic() + DEADLINE
        heard = []
        while True:
            try:
                heard.append(self._queue.get(timeout=max(0.0, deadline - time.monotonic())))
            except Empty:
                pytest.fail(f"not told of {handle} in {DEADLINE} s, or it never came true")
            if (heard[-1] == handle or (or_anything and heard[-1] is None)) and holds():
                return heard

    def drain(self) -> list[str | None]:
        told = []
        with suppress(Empty):
            while True:
                told.append(self._queue.get_nowait())
        return told


def made(rig: Rig, driver: Driver, **changes: Any) -> Instance:
    placement = rig.placement(**changes)
    driver.prepare(placement.image, rig.path)
    return driver.create(placement, rig.path)


def running(rig: Rig, driver: Driver, **changes: Any) -> Instance:
    instance = made(rig, driver, **changes)
    driver.start(instance.handle)
    return now(driver, instance)


def watched(rig: Rig, driver: Driver) -> tuple[Instance, Heard]:
    """A running instance, and ears that are known to hear."""
    heard = Heard()
    instance = made(rig, driver)
    driver.watch(heard)
    driver.start(instance.handle)
    heard.until(instance.handle, lambda: lives(driver, instance) is Life.RUNNING, or_anything=True)
    heard.drain()
    return instance, heard


def now(driver: Driver, instance: Instance) -> Instance:
    seen = driver.inspect(instance.handle)
    assert seen is not None
    return seen


def lives(driver: Driver, instance: Instance) -> Life | None:
    seen = driver.inspect(instance.handle)
    return seen.life if seen else None


def attempts(driver: Driver, rig: Rig, handle: str) -> Iterable[Callable[[], None]]:
    """Every call that changes something, on `handle`."""
    yield lambda: driver.stop(handle)
    yield lambda: driver.start(handle)
    yield lambda: driver.update(handle, rig.placement(memory=rig.memory[1]))
    yield lambda: driver.remove(handle)


class DriverContract:
    """Inherit it in a test module with a fixture `rig`."""

    # -- create, start, stop, remove

    def test_a_created_instance_is_as_placed_and_does_not_run(self, rig: Rig) -> None:
        driver = rig.driver()
        placement = rig.placement(epoch=7)
        driver.prepare(rig.image, rig.path)

        instance = driver.create(placement, rig.path)

        assert instance == driver.inspect(instance.handle)
        assert (instance.uid, instance.epoch, instance.digest) == (
            placement.uid,
            7,
            placement.digest,
        )
        assert (instance.memory, instance.cpus) == (placement.memory, placement.cpus)
        assert (instance.type, instance.life, instance.ran) == (rig.type, Life.STOPPED, False)
        assert instance.name == rig.instance_name(placement)

    def test_creating_the_same_attempt_twice_gives_the_same_instance(self, rig: Rig) -> None:
        driver = rig.driver()
        placement = rig.placement()
        driver.prepare(rig.image, rig.path)
        first = driver.create(placement, rig.path)
        driver.start(first.handle)

        again = driver.create(placement, rig.path)

        assert (again.handle, again.life) == (first.handle, Life.RUNNING)
        assert len(driver.observe().instances) == 1

    def test_creating_the_same_attempt_at_once_makes_one(self, rig: Rig) -> None:
        driver = rig.driver()
        placement = rig.placement()
        driver.prepare(rig.image, rig.path)

        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda _: driver.create(placement, rig.path), range(4)))
            list(pool.map(driver.start, [instance.handle for instance in made]))

        assert len({instance.handle for instance in made}) == 1
        assert [instance.life for instance in driver.observe().instances] == [Life.RUNNING]

    def test_two_machines_of_one_name_do_not_mix(self, rig: Rig) -> None:
        driver = rig.driver()
        old, new = running(rig, driver), running(rig, driver)

        driver.remove(old.handle)

        assert old.handle != new.handle
        assert rig.remains(old.uid) == []
        assert now(driver, new).life is Life.RUNNING

    def test_starting_twice_is_fine(self, rig: Rig) -> None:
        driver = rig.driver()
        instance = made(rig, driver)

        driver.start(instance.handle)
        driver.start(instance.handle)

        seen = now(driver, instance)
        assert (seen.life, seen.ran, seen.clean, seen.ended) == (Life.RUNNING, True, False, "")

    def test_stopping_twice_is_fine(self, rig: Rig) -> None:
        driver = rig.driver()
        instance = running(rig, driver)

        driver.stop(instance.handle)
        assert now(driver, instance).life is Life.STOPPED
        driver.stop(instance.handle)

        assert now(driver, instance).ran

    def test_stopping_what_never_ran_is_fine(self, rig: Rig) -> None:
        driver = rig.driver()
        instance = made(rig, driver)

        driver.stop(instance.handle)

        assert (now(driver, instance).life, now(driver, instance).ran) == (Life.STOPPED, False)

    def test_what_was_stopped_can_be_started_again(self, rig: Rig) -> None:
        driver = rig.driver()
        instance = running(rig, driver)
        driver.stop(instance.handle)

        driver.start(instance.handle)

        assert now(driver, instance).life is Life.RUNNING

    @pytest.mark.parametrize("state", ["created", "running", "stopped"])
    def test_removing_is_complete_and_twice_is_fine(self, rig: Rig, state: str) -> None:
        driver = rig.driver()
        instance = made(rig, driver)
        if state != "created":
            driver.start(instance.handle)
        if state == "stopped":
            driver.stop(instance.handle)
        assert rig.remains(instance.uid) != []

        driver.remove(instance.handle)
        driver.remove(instance.handle)

        assert rig.remains(instance.uid) == []
        assert driver.inspect(instance.handle) is None

    def test_what_is_gone_can_be_stopped_but_not_started(self, rig: Rig) -> None:
        driver = rig.driver()
        instance = made(rig, driver)
        driver.remove(instance.handle)

        driver.stop(instance.handle)
        with pytest.raises(DriverError):
            driver.start(instance.handle)
        with pytest.raises(DriverError):
            driver.update(instance.handle, rig.placement())

    @pytest.mark.parametrize("handle", ["", "nothing", "0" * 64, UNKNOWN, "../x", "a/b?c"])
    def test_an_unknown_handle_is_nothing(self, rig: Rig, handle: str) -> None:
        driver = rig.driver()

        assert driver.inspect(handle) is None
        driver.stop(handle)
        driver.remove(handle)
        with pytest.raises(DriverError):
            driver.start(handle)

    # -- what is on the engine

    def test_ours_are_instances_and_all_else_is_foreign(self, rig: Rig) -> None:
        driver = rig.driver()
        name = f"bystander-{uuid4().hex[:8]}"
        rig.add_foreign(name)
        idle = made(rig, driver, name=Name("idle"), epoch=3)
        busy = running(rig, driver, name=Name("busy"), memory=rig.memory[1], digest="b" * 64)

        view = driver.observe()

        assert view.error == ""
        assert set(view.instances) == {now(driver, idle), now(driver, busy)}
        assert {(seen.epoch, seen.life, seen.memory) for seen in view.instances} == {
            (3, Life.STOPPED, rig.memory[0]),
            (1, Life.RUNNING, rig.memory[1]),
        }
        assert Foreign(type=rig.type, name=name) in view.foreign
        assert set(driver.strangers()) == set(view.foreign)
        assert not {idle.name, busy.name} & {foreign.name for foreign in view.foreign}

    def test_what_is_foreign_is_never_touched(self, rig: Rig) -> None:
        driver = rig.driver()
        handle = rig.add_foreign(f"bystander-{uuid4().hex[:8]}")

        assert driver.inspect(handle) is None
        for attempt in attempts(driver, rig, handle):
            with suppress(DriverError):
                attempt()
            assert rig.foreign_runs(handle)

    def test_another_clusters_machines_are_foreign(self, rig: Rig) -> None:
        driver, other = rig.driver(), rig.driver(rig.other_cluster)
        theirs = running(rig, other)

        view = driver.observe()
        assert view.instances == ()
        assert Foreign(type=rig.type, name=theirs.name) in view.foreign
        assert driver.inspect(theirs.handle) is None
        for attempt in attempts(driver, rig, theirs.handle):
            with suppress(DriverError):
                attempt()
            assert now(other, theirs) == theirs

    def test_a_foreign_object_of_our_name_is_refused_and_left_alone(self, rig: Rig) -> None:
        driver = rig.driver()
        placement = rig.placement()
        driver.prepare(rig.image, rig.path)
        handle = rig.add_foreign(rig.instance_name(placement))

        with pytest.raises(Refused):
            driver.create(placement, rig.path)

        assert rig.foreign_runs(handle)
        assert driver.observe().instances == ()

    def test_an_agent_that_starts_again_finds_its_instances(self, rig: Rig) -> None:
        before = rig.driver()
        instance = running(rig, before)
        before.close()

        after = rig.driver()

        assert after.observe().instances == (instance,)
        after.stop(instance.handle)
        assert now(after, instance).life is Life.STOPPED

    # -- update

    def test_update_changes_memory_and_cpus(self, rig: Rig) -> None:
        driver = rig.driver()
        placement = rig.placement()
        driver.prepare(rig.image, rig.path)
        instance = driver.create(placement, rig.path)
        driver.start(instance.handle)

        for memory, cpus in [(rig.memory[1], rig.cpus[1]), (rig.memory[0], rig.cpus[0])]:
            if not driver.updates_live:
                driver.stop(instance.handle)
            driver.update(
                instance.handle,
                rig.placement(uid=placement.uid, memory=memory, cpus=cpus),
            )
            driver.start(instance.handle)
            (seen,) = driver.observe().instances
            assert (seen.memory, seen.cpus, seen.life) == (memory, cpus, Life.RUNNING)
            assert (seen.uid, seen.handle, seen.digest) == (
                instance.uid,
                instance.handle,
                instance.digest,
            )

    def test_an_update_of_what_never_ran_is_there_when_it_starts(self, rig: Rig) -> None:
        driver = rig.driver()
        instance = made(rig, driver)

        driver.update(instance.handle, rig.placement(memory=rig.memory[1], cpus=rig.cpus[1]))
        driver.start(instance.handle)

        seen = now(driver, instance)
        assert (seen.memory, seen.cpus) == (rig.memory[1], rig.cpus[1])

    # -- what happens from outside

    def test_a_kill_from_outside_is_told_and_is_no_clean_end(self, rig: Rig) -> None:
        driver = rig.driver()
        instance, heard = watched(rig, driver)

        rig.kill(instance.handle)

        heard.until(instance.handle, lambda: lives(driver, instance) is Life.STOPPED)
        seen = now(driver, instance)
        assert (seen.clean, seen.ran) == (False, True)
        assert seen.ended
        driver.start(instance.handle)
        assert now(driver, instance).life is Life.RUNNING

    def test_an_end_by_itself_is_told_and_clean(self, rig: Rig) -> None:
        driver = rig.driver()
        instance, heard = watched(rig, driver)

        rig.finish(instance.handle)

        heard.until(instance.handle, lambda: lives(driver, instance) is Life.STOPPED)
        assert now(driver, instance).clean

    def test_a_removal_from_outside_is_told(self, rig: Rig) -> None:
        driver = rig.driver()
        instance, heard = watched(rig, driver)

        rig.vanish(instance.handle)

        heard.until(instance.handle, lambda: lives(driver, instance) is None)
        assert driver.observe().instances == ()
        driver.remove(instance.handle)
        assert rig.remains(instance.uid) == []

    def test_what_is_paused_can_be_stopped_and_removed_but_not_started(self, rig: Rig) -> None:
        if not rig.can_pause:
            pytest.skip("this engine does not pause")
        driver = rig.driver()
        instance, heard = watched(rig, driver)

        rig.pause(instance.handle)

        heard.until(instance.handle, lambda: lives(driver, instance) is Life.PAUSED)
        with pytest.raises(DriverError):
            driver.start(instance.handle)
        driver.stop(instance.handle)
        assert now(driver, instance).life is Life.STOPPED
        driver.start(instance.handle)
        rig.pause(instance.handle)
        driver.remove(instance.handle)
        assert rig.remains(instance.uid) == []

    # -- watching

    def test_a_watch_tells_nothing_of_what_is_foreign(self, rig: Rig) -> None:
        driver, other = rig.driver(), rig.driver(rig.other_cluster)
        instance, heard = watched(rig, driver)
        theirs, _ = watched(rig, other)
        rig.kill(theirs.handle)
        rig.kill(instance.handle)

        told = heard.until(instance.handle, lambda: lives(driver, instance) is Life.STOPPED)

        assert theirs.handle not in told

    def test_close_ends_the_watch_at_once(self, rig: Rig) -> None:
        driver, other = rig.driver(), rig.driver()
        driver.observe()
        before = set(threading.enumerate())
        instance, heard = watched(rig, driver)
        started = set(threading.enumerate()) - before

        begin = time.monotonic()
        driver.close()
        driver.close()

        assert time.monotonic() - begin < 5
        assert [thread for thread in started if thread.is_alive()] == []
        heard.drain()
        witness = Heard()
        other.watch(witness)
        rig.kill(instance.handle)
        witness.until(instance.handle, lambda: lives(other, instance) is Life.STOPPED, True)
        assert heard.drain() == []

    # -- images

    def test_preparing_twice_is_fine_and_discarding_removes_it(self, rig: Rig) -> None:
        driver = rig.driver()
        image, path = rig.fresh_image()

        driver.prepare(image, path)
        driver.prepare(image, path)
        assert rig.prepared(image) or not rig.makes_images
        driver.discard(image)
        assert not rig.prepared(image)

        driver.discard(image)

    def test_an_image_in_use_is_not_lost(self, rig: Rig) -> None:
        driver = rig.driver()
        image, path = rig.fresh_image()
        driver.prepare(image, path)
        instance = driver.create(rig.placement(image=image), path)

        with suppress(DriverError):
            driver.discard(image)
        driver.start(instance.handle)
        driver.stop(instance.handle)

        driver.remove(instance.handle)
        driver.discard(image)
        assert not rig.prepared(image)

    def test_an_image_of_a_registry_needs_no_bytes(self, rig: Rig) -> None:
        driver = rig.driver()
        image = rig.pulled_image()
        if not rig.pulls:
            with pytest.raises(Refused):
                driver.prepare(image, None)
            with pytest.raises(Refused):
                driver.create(rig.placement(image=image), None)
            return

        assert driver.prepare(image, None) == driver.prepare(image, None) >= 0
        instance = driver.create(rig.placement(image=image), None)
        driver.start(instance.handle)

        seen = now(driver, instance)
        assert (seen.life, seen.image) == (Life.RUNNING, image.sha256)
        driver.remove(instance.handle)
        driver.discard(image)
        assert not rig.prepared(image)

    @pytest.mark.parametrize("fault", ["broken", "missing"])
    def test_without_good_bytes_nothing_is_made(self, rig: Rig, fault: str) -> None:
        driver = rig.driver()
        image, path = rig.broken_image() if fault == "broken" else rig.missing_image()
        placement = rig.placement(image=image)

        def attempt() -> None:
            driver.prepare(image, path)
            driver.create(placement, path)

        with pytest.raises(DriverError):
            attempt()

        assert rig.remains(placement.uid) == []
        assert not rig.prepared(image)

    # -- an engine that does not answer

    def test_an_engine_that_does_not_answer_is_unknown_not_empty(self, rig: Rig) -> None:
        driver = rig.unreachable_driver()
        driver.bind(rig.cluster)

        view = driver.observe()

        assert view.error
        assert (view.instances, view.foreign) == ((), ())
        handle = "0" * 64 if rig.type is MachineType.DOCKER else UNKNOWN
        calls: list[Callable[[], object]] = [
            lambda: driver.inspect(handle),
            lambda: driver.create(rig.placement(), rig.path),
            lambda: driver.start(handle),
            lambda: driver.stop(handle),
            lambda: driver.update(handle, rig.placement()),
            lambda: driver.remove(handle),
        ]
        for call in calls:
            with pytest.raises(EngineDown):
                call()

    def test_a_watch_of_an_engine_that_does_not_answer_can_be_closed(self, rig: Rig) -> None:
        driver = rig.unreachable_driver()
        driver.bind(rig.cluster)
        driver.watch(Heard())

        begin = time.monotonic()
        driver.close()

        assert time.monotonic() - begin < 5
