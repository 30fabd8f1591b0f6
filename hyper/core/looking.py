"""When the engines are looked at: at the start, when they tell of a change, and anyway now and then."""

from collections.abc import Collection, Iterable

from hyper.core.steps import Look, key_of
from manifests.kinds.image import MachineType

ANYWAY = 300.0
"""Seconds after which everything is looked at although no event came: no event stream is perfect."""
AGAIN = 5.0
"""Seconds until an engine that did not answer is looked at again; its event stream is quicker."""


STRANGERS = "strangers"
"""Noted instead of a handle: something changed that is not ours."""
SOON, LATER = 1.0, 10.0
"""Seconds from such a change to the looks at strangers, who may come and go as often as they like:
an engine tells of an end before it frees the ports, at times long before."""


class Looking:
    def __init__(self, types: Iterable[MachineType]) -> None:
        self._strangers: dict[MachineType, tuple[float, ...]] = {}
        """When strangers are looked at next."""
        self._due: dict[MachineType, float | None] = dict.fromkeys(types, 0.0)
        self._noted: set[tuple[MachineType, str]] = set()

    def note(self, type_: MachineType, handle: str | None) -> None:
        """Something changed: one instance, STRANGERS, or (None) anything."""
        if handle is None:
            self._due[type_] = 0.0
        else:
            self._noted.add((type_, handle))

    def steps(
        self, now: float, busy: Collection[object], touched: Collection[str | None]
    ) -> tuple[list[Look], list[float]]:
        """(looks to begin now, when others are due). What a step is at work on (`touched`) is
        looked at when that step is finished."""
        looks, wakes = [], []
        for type_, due in self._due.items():
            if due is None or key_of(Look(type=type_)) in busy:
                continue
            if due > now:
                wakes.append(due)
                continue
            self._due[type_] = None
            looks.append(Look(type=type_))
        for type_, handle in sorted(self._noted):
            if handle == STRANGERS:
                self._noted.discard((type_, handle))
                soon = min(self._strangers.get(type_, (now + SOON,))[0], now + SOON)
                self._strangers[type_] = (soon, now + LATER)
            elif handle not in touched:
                self._noted.discard((type_, handle))
                looks.append(Look(type=type_, handle=handle))
        for type_, (due, *later) in list(self._strangers.items()):
            if due > now:
                wakes.append(due)
            elif STRANGERS not in touched:
                looks.append(Look(type=type_, handle=STRANGERS))
                self._strangers[type_] = tuple(later)
                wakes += later
        self._strangers = {type_: dues for type_, dues in self._strangers.items() if dues}
        return looks, wakes

    def again(self, type_: MachineType, due: float) -> None:
        """At the latest when it is due; an event that came meanwhile has asked for an earlier look."""
        earlier = self._due[type_]
        self._due[type_] = due if earlier is None else min(earlier, due)
