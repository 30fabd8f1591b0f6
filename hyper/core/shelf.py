"""The images of the node: which are ready to start from, which are in trouble, which have to go.

An image that no machine needs is kept, so that the next start is instant, until its room is needed:
then the one that has been idle longest goes first. One that is in use never goes. Not here: measuring
the room, nor any file.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from hyper.core.backoff import FRESH, History, failed
from hyper.core.model import Instance, Stock
from hyper.core.room import Lack, no_room
from hyper.core.steps import Create, Discard, Outcome, Prepare, Step
from manifests.kinds.image import MachineType
from manifests.wire import Assignment, ImagePhase, ImageRef, ImageReport, Placement

AGAIN = 60.0
"""Seconds until an image is dropped again that could not be."""

Key = tuple[MachineType, str]
"""Of an image: the engine that starts machines from it, and its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What images are needed for now: machines will start from those `wanted`, instances rest on
    those `used`, steps are at work to fetch or to drop some. Engines that are not `open` cannot be
    asked to drop anything, nor what rests on it."""

    wanted: dict[Key, ImageRef]
    used: set[Key]
    fetching: set[Key]
    going: set[Key]
    open: set[MachineType]


def use_of(
    assignment: Assignment | None,
    instances: Iterable[Instance],
    steps: Collection[Step],
    open_: Iterable[MachineType],
) -> Use:
    run = assignment.run if assignment else ()
    there = [(it.type, it.image) for it in instances]
    unclear = {type_ for type_, image in there if not image}
    making = [key_of(it.placement) for it in steps if isinstance(it, Create)]
    return Use(
        wanted={key_of(it): it.image for it in run},
        used={*there, *making},
        fetching={(it.type, it.image.sha256) for it in steps if isinstance(it, Prepare)},
        going={(it.type, it.image.sha256) for it in steps if isinstance(it, Discard)},
        open=set(open_) - unclear,
    )


class Shelf:
    """`_stock` is what is on the node; of it `_ready` was made startable by this very agent. `_idle` is
    in the order in which images fell idle. `_lacks` has those that wait for others to be dropped,
    `_barred` those that could not be dropped, and until when."""

    def __init__(self, stock: Iterable[Stock] = ()) -> None:
        """`stock`: as a look at the cache finds it, the least recently used first."""
        self._stock: dict[Key, Stock] = {(it.type, it.image.sha256): it for it in stock}
        self._ready: set[Key] = set()
        self._idle: dict[Key, None] = dict.fromkeys(self._stock)
        self._barred: dict[Key, float] = {}
        self._trouble: dict[Key, History] = {}
        self._lacks: dict[Key, Lack] = {}
        self._done: dict[str, int] = {}
        self._short = 0

    # -- what machines ask

    def has(self, placement: Placement) -> bool:
        return key_of(placement) in self._ready

    def trouble(self, placement: Placement) -> History:
        return self._trouble.get(key_of(placement), FRESH)

    def makes_room(self, placement: Placement) -> bool:
        """Whether other images are being dropped for this one."""
        return key_of(placement) in self._lacks

    def lost(self, placement: Placement) -> None:
        """The engine no longer has it; prepare it again."""
        self._ready.discard(key_of(placement))

    # -- what happened

    def finished(self, step: Prepare | Discard, outcome: Outcome, now: float) -> None:
        key = (step.type, step.image.sha256)
        if outcome.short is not None:
            self._short = outcome.short
        if isinstance(step, Prepare):
            self._prepared(key, step.image, outcome, now)
        else:
            self._discarded(key, outcome, now)

    def _prepared(self, key: Key, image: ImageRef, outcome: Outcome, now: float) -> None:
        self._done.pop(image.sha256, None)
        before = self._stock.get(key)
        if outcome.stock is not None:
            self._stock[key] = outcome.stock
        if outcome.lack is not None:
            self._lacks[key] = outcome.lack
        elif outcome.error:
            came = outcome.stock is not None and outcome.stock.held > (before.held if before else 0)
            old = FRESH if came else self._trouble.get(key, FRESH)  # a slow way is no dead end
            self._trouble[key] = failed(old, error=outcome.error, uid=key[1], now=now)
        else:
            self._trouble.pop(key, None)
            self._ready.add(key)

    def _discarded(self, key: Key, outcome: Outcome, now: float) -> None:
        if outcome.error:
            self._barred[key] = now + AGAIN
            return
        gone = self._stock.pop(key, None)
        self._idle.pop(key, None)
        freed = gone.held if gone else 0
        more = {
            other: Lack(it.needs, it.free + freed, it.where) for other, it in self._lacks.items()
        }
        self._lacks = {other: it for other, it in more.items() if it.missing > 0}

    def measured(self, short: int) -> None:
        """`short` bytes have to go (hyper.core.room.Room.short)."""
        self._short = short

    def progress(self, sha256: str, done: int) -> None:
        self._done[sha256] = done

    # -- what has to go

    def discards(self, use: Use, now: float) -> tuple[list[Discard], list[float]]:
        """(images to drop now, when to ask again)."""
        self._follow(use)
        self._barred = {key: due for key, due in self._barred.items() if due > now}
        able = [key for key in self._idle if key[0] in use.open and key not in use.going]
        free = [key for key in able if key not in self._barred]
        coming = sum(self._stock[key].held for key in use.going & self._stock.keys())
        self._give_up(use, coming + sum(self._stock[key].held for key in free), now)
        short = max([self._short, *(it.missing for it in self._lacks.values())])
        steps = []
        for key in free:
            held = self._stock[key].held
            if held and coming >= short:
                continue
            coming += held
            self._ready.discard(key)  # now: nothing may be made from what is about to go
            steps.append(Discard(type=key[0], image=self._stock[key].image))
        return steps, [min(self._barred.values())] if coming < short and self._barred else []

    def _follow(self, use: Use) -> None:
        needed = use.wanted.keys() | use.used | use.fetching
        for key in self._stock:
            if key in needed:
                self._idle.pop(key, None)
            else:
                self._idle.setdefault(key)
        self._trouble = {key: old for key, old in self._trouble.items() if key in use.wanted}
        self._lacks = {key: it for key, it in self._lacks.items() if key in use.wanted}

    def _give_up(self, use: Use, possible: int, now: float) -> None:
        """Where all that may go would not be enough, nothing goes."""
        for key, it in list(self._lacks.items()):
            if it.missing > possible:
                del self._lacks[key]
                image, old = use.wanted[key], self._trouble.get(key, FRESH)
                error = no_room(image, Lack(it.needs, it.free + possible, it.where))
                self._trouble[key] = failed(old, error=error, uid=key[1], now=now)

    # -- what is said

    def reports(self, use: Use) -> tuple[ImageReport, ...]:
        """Of every image that is here, or that a machine waits for. One that two engines know is
        told once."""
        images = {key: it.image for key, it in self._stock.items()} | use.wanted
        found: dict[str, ImageReport] = {}
        for key, image in images.items():
            if (report := self._report(key, image, use)) is not None:
                found.setdefault(key[1], report)
        return tuple(found[sha256] for sha256 in sorted(found))

    def _report(self, key: Key, image: ImageRef, use: Use) -> ImageReport | None:
        stock, trouble = self._stock.get(key), self._trouble.get(key)
        here = stock.held if stock else 0
        if stock is not None and stock.ready:
            size = image.size or here
            return ImageReport(sha256=image.sha256, phase=ImagePhase.READY, done=size, size=size)
        done = min(max(here, self._done.get(key[1], 0)), image.size)
        if key in use.fetching or key in self._lacks:
            phase, reason = ImagePhase.FETCHING, ""
        elif trouble is not None:
            phase, reason = ImagePhase.FAILED, trouble.error
        else:
            return None
        return ImageReport(
            sha256=image.sha256, phase=phase, done=done, size=image.size, reason=reason
        )


def key_of(placement: Placement) -> Key:
    return placement.type, placement.image.sha256
