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
PAUSE = 1.0
"""Seconds between two looks at strangers, who may come and go as they like."""


class Looking:
    def __init__(self, types: Iterable[MachineType]) -> None:
        self._strangers_at: dict[MachineType, float] = {}
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
            if handle == STRANGERS and now < self._strangers_at.get(type_, now):
                wakes.append(self._strangers_at[type_])
            elif handle not in touched:
                self._noted.discard((type_, handle))
                looks.append(Look(type=type_, handle=handle))
                if handle == STRANGERS:
                    self._strangers_at[type_] = now + PAUSE
        return looks, wakes

    def again(self, type_: MachineType, due: float) -> None:
        """At the latest when it is due; an event that came meanwhile has asked for an earlier look."""
        earlier = self._due[type_]
        self._due[type_] = due if earlier is None else min(earlier, due)
