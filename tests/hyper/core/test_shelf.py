"""Which images are ready, which are in trouble, which have to go, and what is said of them."""

from typing import Any

import pytest

from hyper.core.backoff import FRESH
from hyper.core.model import Stock
from hyper.core.room import Lack, Room, footprint, lack, no_room, shown
from hyper.core.shelf import AGAIN, Key, Shelf, Use, use_of
from hyper.core.steps import Create, Discard, Outcome, Prepare
from manifests.kinds.image import ImageFormat, MachineType
from manifests.scalars import Sha256
from manifests.wire import ImagePhase, ImageRef, ImageReport, Placement
from tests.hyper.making import DOCKER, LIBVIRT, assignment, instance, placement

GIB = 1 << 30
LACK = Lack(10, 4, "on the disk")


def ref(byte: str, size: int = 10) -> ImageRef:
    return ImageRef(sha256=Sha256(byte * 64), format=ImageFormat.DOCKER_ARCHIVE, size=size)


def stock(byte: str, held: int = 10, *, ready: bool = True, type_: MachineType = DOCKER) -> Stock:
    return Stock(type=type_, image=ref(byte), held=held, ready=ready)


def of(byte: str, **more: Any) -> Placement:
    return placement(image=ref(byte), **more)


def use(*run: Placement, **more: Any) -> Use:
    """Machines are wanted; both engines answer."""
    wanted = {(it.type, it.image.sha256): it.image for it in run}
    usual: dict[str, Any] = {"used": set(), "fetching": set(), "going": set()}
    return Use(wanted=wanted, **usual | {"open": {DOCKER, LIBVIRT}} | more)


def key(byte: str, type_: MachineType = DOCKER) -> Key:
    return type_, byte * 64


def prepare(shelf: Shelf, byte: str, at: float = 0.0, **outcome: Any) -> Shelf:
    shelf.finished(Prepare(type=DOCKER, image=ref(byte)), Outcome(ticket=1, **outcome), at)
    return shelf


def discard(shelf: Shelf, byte: str, at: float = 0.0, **outcome: Any) -> Shelf:
    shelf.finished(Discard(type=DOCKER, image=ref(byte)), Outcome(ticket=1, **outcome), at)
    return shelf


def go(shelf: Shelf, now_in_use: Use, now: float = 0.0) -> list[str]:
    """The images to drop."""
    return [step.image.sha256[0] for step in shelf.discards(now_in_use, now)[0]]


# -- ready, or in trouble


def test_ready_only_after_it_was_prepared_by_this_agent() -> None:
    shelf = Shelf([stock("a")])
    assert not shelf.has(of("a"))
    prepare(shelf, "a")
    assert shelf.has(of("a"))
    assert not shelf.has(of("b"))
    assert not shelf.has(of("a", type=LIBVIRT))


def test_what_the_engine_lost_is_prepared_again() -> None:
    shelf = prepare(Shelf(), "a")
    shelf.lost(of("a"))
    assert not shelf.has(of("a"))
    assert prepare(shelf, "a").has(of("a"))


def test_trouble_grows_and_ends() -> None:
    shelf, web = Shelf(), of("a")
    assert shelf.trouble(web) == FRESH
    prepare(shelf, "a", 100.0, error="404")
    first = shelf.trouble(web)
    assert (first.error, first.retry_at > 100.0) == ("404", True)
    prepare(shelf, "a", first.retry_at, error="404")
    assert shelf.trouble(web).pause > first.pause
    prepare(shelf, "a", 110.0)
    assert (shelf.trouble(web), shelf.has(web)) == (FRESH, True)


def test_a_download_that_comes_on_is_tried_again_soon() -> None:
    shelf = Shelf()
    for held in range(1, 9):
        prepare(shelf, "a", error="broke off", stock=stock("a", held, ready=False))
    assert shelf.trouble(of("a")).failures == 2
    for _ in range(7):
        prepare(shelf, "a", error="broke off", stock=stock("a", 8, ready=False))
    assert shelf.trouble(of("a")).failures == 9


# -- what goes


def test_what_nobody_needs_stays_as_long_as_there_is_room() -> None:
    shelf = Shelf([stock("a"), stock("b")])
    assert shelf.discards(use(), 0) == ([], [])
    assert shelf.discards(use(), 1e9) == ([], [])


@pytest.mark.parametrize(("short", "gone"), [(1, "a"), (10, "a"), (11, "ab"), (99, "abc")])
def test_as_many_go_as_have_to_the_longest_idle_first(short: int, gone: str) -> None:
    shelf = Shelf([stock("a"), stock("b"), stock("c")])
    shelf.measured(short)
    assert go(shelf, use()) == list(gone)


def test_what_was_used_last_goes_last() -> None:
    shelf = Shelf([stock("a"), stock("b"), stock("c")])
    go(shelf, use(of("a"), of("b")))
    go(shelf, use(of("a")))
    go(shelf, use())
    shelf.measured(99)
    assert go(shelf, use()) == ["c", "b", "a"]


def test_what_is_needed_never_goes() -> None:
    shelf = Shelf([stock(byte) for byte in "abcd"] + [stock("v", type_=LIBVIRT)])
    shelf.measured(10**9)
    needed = use(of("a"), used={key("b"), key("v", LIBVIRT)}, fetching={key("c")}, going={key("d")})
    assert go(shelf, needed) == []


def test_what_rests_on_a_silent_engine_stays() -> None:
    shelf = Shelf([stock("a"), stock("v", type_=LIBVIRT)])
    shelf.measured(10**9)
    assert go(shelf, use(open={DOCKER})) == ["a"]


def test_what_is_about_to_go_is_not_made_from() -> None:
    shelf = prepare(Shelf([stock("a")]), "a", short=1)
    assert go(shelf, use()) == ["a"]
    assert not shelf.has(of("a"))


def test_what_goes_already_counts() -> None:
    shelf = Shelf([stock("a"), stock("b")])
    shelf.measured(10)
    assert go(shelf, use(going={key("a")})) == []


def test_cards_without_bytes_go_at_once() -> None:
    shelf = Shelf([stock("a"), stock("b", 0, ready=False)])
    assert go(shelf, use()) == ["b"]


def test_what_cannot_be_dropped_is_dropped_later_and_another_now() -> None:
    shelf = Shelf([stock("a"), stock("b")])
    shelf.measured(10)
    assert go(shelf, use()) == ["a"]
    discard(shelf, "a", 50.0, error="busy", short=10)
    assert go(shelf, use(), 51.0) == ["b"]
    assert shelf.discards(use(going={key("b")}), 51.0) == ([], [])
    discard(shelf, "b", 51.0, error="busy", short=10)
    assert shelf.discards(use(), 52.0) == ([], [50.0 + AGAIN])
    assert go(shelf, use(), 50.0 + AGAIN) == ["a"]


# -- making room


def test_others_go_for_an_image_that_a_machine_waits_for() -> None:
    shelf = prepare(Shelf([stock("a"), stock("b")]), "n", error="no room", lack=LACK)
    assert shelf.makes_room(of("n"))
    assert shelf.trouble(of("n")) == FRESH
    assert go(shelf, use(of("n"))) == ["a"]
    assert shelf.makes_room(of("n"))
    discard(shelf, "a")
    assert not shelf.makes_room(of("n"))
    assert go(shelf, use(of("n"))) == []


def test_where_all_would_not_be_enough_nothing_goes_and_it_is_told() -> None:
    shelf = prepare(Shelf([stock("a", 5)]), "n", 100.0, error="", lack=LACK)
    assert go(shelf, use(of("n")), 100.0) == []
    trouble = shelf.trouble(of("n"))
    assert not shelf.makes_room(of("n"))
    assert (
        trouble.error == f"no room for image {'n' * 12}: needs 10 bytes, 9 bytes free on the disk"
    )
    assert trouble.retry_at > 100.0


def test_nothing_goes_for_an_image_that_nobody_waits_for_any_more() -> None:
    shelf = prepare(Shelf([stock("a")]), "n", lack=LACK)
    assert go(shelf, use()) == []
    assert not shelf.makes_room(of("n"))


def test_if_dropping_fails_the_machine_hears_why_it_waits() -> None:
    shelf = prepare(Shelf([stock("a")]), "n", lack=LACK)
    assert go(shelf, use(of("n"))) == ["a"]
    discard(shelf, "a", error="busy")
    assert go(shelf, use(of("n"))) == []
    assert "needs 10 bytes, 4 bytes free" in shelf.trouble(of("n")).error


# -- what is in use


def test_use_is_of_the_assignment_the_instances_and_what_is_being_made() -> None:
    web, new = of("a"), of("c", type=LIBVIRT)
    there = instance(image="b" * 64)
    steps = [
        Create(uid=new.uid, type=LIBVIRT, placement=new, reason=""),
        Prepare(type=DOCKER, image=ref("d")),
        Discard(type=DOCKER, image=ref("e")),
    ]
    assert use_of(assignment(web), [there], steps, [DOCKER]) == Use(
        wanted={key("a"): ref("a")},
        used={key("b"), key("c", LIBVIRT)},
        fetching={key("d")},
        going={key("e")},
        open={DOCKER},
    )


def test_an_instance_of_which_the_image_is_unclear_keeps_all_of_its_engine() -> None:
    found = use_of(None, [instance(image="")], [], [DOCKER, LIBVIRT])
    assert found.open == {LIBVIRT}


# -- what is said


def said(shelf: Shelf, now_in_use: Use) -> list[tuple[str, str, int, int, str]]:
    return [
        (it.sha256[0], it.phase, it.done, it.size, it.reason) for it in shelf.reports(now_in_use)
    ]


def test_each_image_is_told_once_with_its_state() -> None:
    partial = stock("p", 4, ready=False)
    shelf = Shelf([stock("b", 20), stock("b", 10, type_=LIBVIRT), stock("a"), partial])
    prepare(shelf, "f", error="answers 404")
    wanted = use(of("f"), of("n"), of("p"), fetching={key("p")})
    assert said(shelf, wanted) == [
        ("a", ImagePhase.READY, 10, 10, ""),
        ("b", ImagePhase.READY, 10, 10, ""),
        ("f", ImagePhase.FAILED, 0, 10, "answers 404"),
        ("p", ImagePhase.FETCHING, 4, 10, ""),
    ]
    assert [it[0] for it in said(shelf, use())] == ["a", "b"]


def test_progress_is_told_until_it_is_here() -> None:
    shelf, wanted = Shelf(), use(of("a"), fetching={key("a")})
    shelf.progress("a" * 64, 7)
    assert said(shelf, wanted) == [("a", ImagePhase.FETCHING, 7, 10, "")]
    prepare(shelf, "a", error="broke off", stock=stock("a", 8, ready=False))
    assert said(shelf, use(of("a"))) == [("a", ImagePhase.FAILED, 8, 10, "broke off")]
    prepare(shelf, "a", stock=stock("a", 20))
    assert said(shelf, use(of("a"))) == [("a", ImagePhase.READY, 10, 10, "")]


def test_of_an_image_without_a_size_it_is_told_what_it_takes() -> None:
    image = ImageRef(sha256=Sha256("r" * 64), format=ImageFormat.REGISTRY, size=0, repository="r")
    shelf = Shelf([Stock(type=DOCKER, image=image, held=77, ready=True)])
    assert shelf.reports(use()) == (
        ImageReport(sha256=image.sha256, phase=ImagePhase.READY, done=77, size=77),
    )


# -- room


def room(**more: int) -> Room:
    return Room(**{"limit": 100, "held": 50, "disk": 100} | more)


@pytest.mark.parametrize(
    ("size", "here", "free", "found"),
    [
        (25, 0, room(), None),
        (26, 0, room(), Lack(52, 50, "in the image cache (hyper --image-cache)")),
        (26, 2, room(), None),
        (20, 0, room(disk=20), None),
        (20, 0, room(disk=19), Lack(20, 19, "on the disk")),
        (20, 15, room(disk=5), None),
        (20, 0, room(disk=-3), Lack(20, -3, "on the disk")),
    ],
)
def test_an_archive_is_kept_twice(size: int, here: int, free: Room, found: Lack | None) -> None:
    assert lack(free, ref("a", size), here) == found


def test_a_disk_is_kept_once() -> None:
    disk = ImageRef(sha256=Sha256("a" * 64), format=ImageFormat.QCOW2, size=7)
    assert footprint(disk) == 7


@pytest.mark.parametrize(
    ("it", "short"),
    [(room(), 0), (room(held=120), 20), (room(disk=-5), 5), (room(held=101, disk=-5), 5)],
)
def test_short_is_what_has_to_go(it: Room, short: int) -> None:
    assert it.short == short


def test_no_room_says_how_much() -> None:
    assert no_room(ref("a"), Lack(int(2.14 * GIB), 400 << 20, "on the disk")) == (
        f"no room for image {'a' * 12}: needs 2.1 GiB, 400 MiB free on the disk"
    )
    assert no_room(ref("a"), Lack(1, -5, "on the disk")).endswith(
        "needs 1 bytes, 0 bytes free on the disk"
    )


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1 << 10, "1.0 KiB"), (99 << 20, "99.0 MiB"), (123 << 30, "123 GiB")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert shown(size) == text
