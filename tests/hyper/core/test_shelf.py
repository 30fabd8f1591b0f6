"""Which images are ready, which are in trouble, which nobody needs any more."""

from hyper.core.backoff import FRESH
from hyper.core.shelf import KEPT, Shelf
from hyper.core.steps import Discard, Prepare
from tests.hyper.making import DOCKER, LIBVIRT, image, placement

WEB = placement()
STEP = Prepare(type=DOCKER, image=WEB.image)
DROP = Discard(type=DOCKER, image=WEB.image)


def ready(shelf: Shelf, at: float = 0.0) -> Shelf:
    shelf.prepared(STEP, "", at)
    return shelf


def test_ready_only_after_it_was_prepared() -> None:
    shelf = Shelf()
    assert not shelf.has(WEB)
    assert ready(shelf).has(WEB)
    assert not shelf.has(placement(image=image("b")))
    assert not shelf.has(placement(type=LIBVIRT, image=WEB.image))


def test_trouble_grows_and_ends() -> None:
    shelf = Shelf()
    assert shelf.trouble(WEB) == FRESH
    shelf.prepared(STEP, "404", 100.0)
    first = shelf.trouble(WEB)
    assert (first.error, first.retry_at > 100.0) == ("404", True)
    shelf.prepared(STEP, "404", first.retry_at)
    assert shelf.trouble(WEB).pause > first.pause
    assert not shelf.has(WEB)
    shelf.prepared(STEP, "", 110.0)
    assert shelf.trouble(WEB) == FRESH


def test_what_is_needed_is_kept() -> None:
    shelf = ready(Shelf())
    assert shelf.discards([WEB], 0) == ([], [])
    assert shelf.discards([WEB], 10 * KEPT) == ([], [])


def test_what_nobody_needs_goes_after_a_while() -> None:
    shelf = ready(Shelf())
    assert shelf.discards([], 100.0) == ([], [100.0 + KEPT])
    assert shelf.discards([], 99.0 + KEPT) == ([], [100.0 + KEPT])
    assert shelf.discards([], 100.0 + KEPT) == ([DROP], [])
    shelf.discarded(DROP, "", 0.0)
    assert not shelf.has(WEB)
    assert shelf.discards([], 200.0 + KEPT) == ([], [])


def test_a_change_of_mind_starts_the_while_again() -> None:
    shelf = ready(Shelf())
    shelf.discards([], 100.0)
    shelf.discards([WEB], 200.0)
    assert shelf.discards([], 300.0) == ([], [300.0 + KEPT])


def test_what_the_engine_lost_is_prepared_again() -> None:
    shelf = ready(Shelf())
    shelf.lost(WEB)
    assert not shelf.has(WEB)
    assert ready(shelf).has(WEB)
