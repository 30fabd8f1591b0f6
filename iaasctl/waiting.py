"""Following a change until everything is as wanted: by long polls, so that it costs nothing to wait
and is seen at once."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from iaasctl.answers import Object, Outcome
from iaasctl.client import Client
from iaasctl.errors import Failure, TimedOut
from iaasctl.kinds import BY_NAME, KINDS, NODE
from iaasctl.progress import Progress
from iaasctl.reading import LONG_POLL, Seen
from iaasctl.settle import Key, Status, Target, World, in_vain, judge

GRACE = 5.0
"""How long nothing may move before a machine without a place is given up, in seconds."""
Clock = Callable[[], float]


def targets_of(keys: Sequence[Key], outcome: Outcome) -> list[Target]:
    """What to wait for after an apply: what was sent, and what it affects, ready; what the plan
    deletes gone."""
    affected = [(line.kind, line.name) for line in outcome.lines if line.action != "delete"]
    kept = [Target(kind=kind, name=name) for kind, name in (*keys, *affected)]
    deleted = [
        Target(kind=line.kind, name=line.name, gone=True)
        for line in outcome.lines
        if line.action == "delete"
    ]
    return sorted({*kept, *deleted}, key=lambda item: (item.kind, item.name))


class Waited(NamedTuple):
    """Where the wait ended: all settled, or as it was when the time was over."""

    statuses: Sequence[Status]
    world: World


def wait(
    client: Client,
    targets: Sequence[Target],
    timeout: float,
    progress: Progress,
    clock: Clock = time.monotonic,
) -> Waited:
    """Waits until every target is settled, for at most `timeout` seconds."""
    watched = _Watched(client, targets)
    deadline = clock() + timeout
    quiet_since, before = clock(), list[Status]()
    while True:
        statuses = judge(targets, watched.world)
        if statuses != before:
            quiet_since, before = clock(), statuses
        stuck = any(status.stuck for status in statuses)
        if stuck and clock() - quiet_since >= GRACE:
            statuses = in_vain(statuses, watched.with_nodes())
        progress.show(statuses)
        left = deadline - clock()
        if left <= 0 or all(status.settled for status in statuses):
            return Waited(statuses, watched.world)
        watched.next(statuses, min(left, GRACE if stuck else LONG_POLL))


class _Watched:
    """The lists that targets are in, kept up to date: one long poll at a time, on the list with
    most to come."""

    def __init__(self, client: Client, targets: Sequence[Target]) -> None:
        self._client = client
        kinds = {BY_NAME[target.kind].plural for target in targets if target.kind in BY_NAME}
        self._plurals = [kind.plural for kind in reversed(KINDS) if kind.plural in kinds]
        self._seen: dict[str, Seen] = {}
        for plural in self._plurals:
            self._seen[plural] = client.look(plural)

    @property
    def world(self) -> dict[str, tuple[Object, ...]]:
        return {plural: seen.objects for plural, seen in self._seen.items()}

    def with_nodes(self) -> dict[str, tuple[Object, ...]]:
        return {**self.world, NODE.plural: self._client.look(NODE.plural).objects}

    def next(self, statuses: Sequence[Status], seconds: float) -> None:
        """Waits for a change of a list with unsettled targets, machines first: they explain most.
        Then asks for the other lists as they are by now."""
        unsettled = {status.target.kind for status in statuses if not status.settled}
        plurals = {BY_NAME[kind].plural for kind in unsettled}
        for plural in self._plurals:
            if plural in plurals:
                self._seen[plural] = self._client.look(
                    plural, wait=seconds, seen=self._seen[plural]
                )
                seconds = 0


def conclusion(statuses: Sequence[Status], timeout: float) -> Failure | None:
    """The error that the last statuses mean, if any."""
    failed = [status for status in statuses if status.failed]
    waiting = [status for status in statuses if not status.settled]
    if failed:
        return Failure(
            f"{_count(failed)} not as wanted",
            "\n".join(f"{status.label}: {status.detail or status.state}" for status in failed),
            f"iaasctl describe {failed[0].label} tells more; correct it and try again",
        )
    if waiting:
        return TimedOut(
            f"{_count(waiting)} not ready after {timeout:g} s; it goes on without you",
            "\n".join(
                f"{status.label} is {status.state}: {status.detail}".rstrip(": ")
                for status in waiting
            ),
            f"iaasctl get {waiting[0].label.partition('/')[0]} --watch follows it",
        )
    return None


def _count(statuses: Sequence[Status]) -> str:
    if len(statuses) == 1:
        return f"{statuses[0].label} is"
    return f"{len(statuses)} objects are"
