"""get --watch and events --watch: what changes is printed as it changes, until Ctrl-C."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from queue import SimpleQueue

from iaasctl import views
from iaasctl.answers import Object
from iaasctl.client import Client
from iaasctl.errors import Failure
from iaasctl.output import as_data, names
from iaasctl.reading import LONG_POLL
from iaasctl.selection import Selection
from iaasctl.table import line, widths
from iaasctl.terminal import out

Update = tuple[str, Sequence[Object]]
"""(plural, all objects of the kind)."""


def watch_objects(client: Client, chosen: Selection, form: str) -> None:
    """Prints the objects, then each as it changes. Ends only by Ctrl-C or a Failure."""
    printers = {kind.plural: Printer(kind.plural, form) for kind in chosen.kinds}
    follow = _one if len(printers) == 1 else _several
    for plural, objects in follow(client, list(printers), chosen.filters):
        printers[plural].update(chosen.of(objects))


def _one(client: Client, plurals: Sequence[str], filters: Mapping[str, str]) -> Iterator[Update]:
    for objects in client.follow(plurals[0], filters):
        yield plurals[0], objects


def _several(
    client: Client, plurals: Sequence[str], filters: Mapping[str, str]
) -> Iterator[Update]:
    """Several lists at once: each needs a connection of its own, since a long poll occupies it."""
    updates: SimpleQueue[Update | Failure] = SimpleQueue()

    def run(plural: str, own: Client) -> None:
        try:
            for update in _one(own, [plural], filters):
                updates.put(update)
        except Failure as error:
            updates.put(error)

    for plural in plurals:
        threading.Thread(target=run, args=(plural, client.another()), daemon=True).start()
    while True:
        update = updates.get()
        if isinstance(update, Failure):
            raise update
        yield update


class Printer:
    """Prints what differs from what was printed before."""

    def __init__(self, plural: str, form: str) -> None:
        self._plural = plural
        self._form = form
        self._before: dict[str, Object] = {}
        self._widths: list[int] = []

    def update(self, objects: Sequence[Object]) -> None:
        now = {str(item.get("id") or item.get("name")): item for item in objects}
        changed = [item for key, item in now.items() if self._differs(key, item)]
        gone = [
            {**item, "state": "gone", "reason": "", "ready": False}
            for key, item in self._before.items()
            if key not in now
        ]
        self._before = now
        if changed or gone:
            out(self.text([*changed, *gone]))

    def _differs(self, key: str, item: Object) -> bool:
        before = self._before.get(key)
        if before is None:
            return True
        if self._form in ("table", "wide"):
            return self._cells([before], ageless=True) != self._cells([item], ageless=True)
        return before != item

    def _cells(self, objects: Sequence[Object], *, ageless: bool = False) -> list[list[str]]:
        rows = views.rows(self._plural, objects, wide=self._form == "wide")
        if not ageless:
            return rows
        return [
            [cell for title, cell in zip(rows[0], row, strict=True) if title != "AGE"]
            for row in rows
        ]

    def text(self, objects: Sequence[Object]) -> str:
        if self._form == "json":
            return "\n".join(as_data(item, "json", indent=None) for item in objects)
        if self._form == "yaml":
            return "\n".join(f"---\n{as_data(item, 'yaml')}" for item in objects)
        if self._form == "name":
            return "\n".join(names([(self._plural, objects)]))
        return self._rows(self._cells(objects))

    def _rows(self, rows: list[list[str]]) -> str:
        """The rows in columns that only grow, the header once."""
        first = not self._widths
        before = self._widths or [0] * len(rows[0])
        self._widths = [max(pair) for pair in zip(before, widths(rows), strict=True)]
        return "\n".join(line(row, self._widths) for row in (rows if first else rows[1:]))


def watch_events(client: Client, query: Mapping[str, str], form: str) -> None:
    """Prints the events so far, then each as it happens. Ends only by Ctrl-C or a Failure."""
    printer = Printer("events", form)
    seen = client.look("events", query)
    while True:
        if seen.objects:
            out(printer.text(seen.objects))
            query = {**query, "since": str(seen.objects[-1].get("id"))}
            seen = client.look("events", query)
        else:
            seen = client.look("events", query, wait=LONG_POLL, seen=seen)
