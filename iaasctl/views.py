"""Objects as rows: which columns each kind has and what is in their cells. One table, COLUMNS.

Cells take whatever a server sends: a missing or odd value is shown as it is, never an error.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from iaasctl.terminal import safe

Object = Mapping[str, Any]
NOTHING = "-"


class Column(NamedTuple):
    """`wide`: only with -o wide; `narrow`: only without."""

    title: str
    cell: Callable[[Object], str]
    wide: bool = False
    narrow: bool = False


def rows(plural: str, objects: Sequence[Object], *, wide: bool = False) -> list[list[str]]:
    """Header and one row for each object."""
    columns = [column for column in COLUMNS[plural] if not (column.narrow if wide else column.wide)]
    header = [column.title for column in columns]
    return [header, *([column.cell(item) for column in columns] for item in objects)]


def name_of(item: Object) -> str:
    return safe(item.get("name"))


def by_name(objects: Sequence[Object]) -> list[Object]:
    return sorted(objects, key=lambda item: (str(item.get("name")), str(item.get("id"))))


def short_id(item: Object) -> str:
    """As much of it as people type, see `iaasctl.resolution`."""
    return safe(item.get("id"))[:8] or NOTHING


def text(field: str) -> Callable[[Object], str]:
    return lambda item: shown(item.get(field))


def shown(value: Any) -> str:
    """A value in one cell."""
    if value is None or value == "" or value == [] or value == {}:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ",".join(f"{safe(key)}={shown(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ",".join(shown(item) for item in value)
    return safe(value)


def state(item: Object) -> str:
    value = shown(item.get("state"))
    return "deleting" if item.get("deleting") is True else value


def reason(item: Object) -> str:
    """Why it is not as it should be; empty for what is ready, so that trouble stands out."""
    return "" if item.get("ready") is True else safe(item.get("reason"))


def memory(mib: Any) -> str:
    if not isinstance(mib, int | float):
        return shown(mib)
    return f"{mib / 1024:.4g}Gi" if mib >= 1024 else f"{mib:g}Mi"


def size(count: Any) -> str:
    if not isinstance(count, int | float):
        return shown(count)
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"


def on_node(item: Any) -> str:
    """Of an image: `n1 fetching 43 %`, `n2 failed: why`."""
    if not isinstance(item, Mapping):
        return shown(item)
    done, whole = item.get("done"), item.get("size")
    text = f"{safe(item.get('node'))} {shown(item.get('state'))}"
    if (
        item.get("state") == "fetching"
        and isinstance(done, int)
        and isinstance(whole, int)
        and whole
    ):
        text += f" {100 * done // whole} %"
    return f"{text}: {safe(item.get('reason'))}" if item.get("reason") else text


def used(key: str, unit: Callable[[Any], str]) -> Callable[[Object], str]:
    """`used/capacity` of a node."""

    def cell(item: Object) -> str:
        parts = [item.get(field) for field in ("used", "capacity")]
        return "/".join(
            unit(part.get(key)) if isinstance(part, Mapping) else NOTHING for part in parts
        )

    return cell


def drivers(item: Object) -> str:
    values = item.get("drivers")
    if not isinstance(values, list):
        return shown(values)
    names = [
        f"{safe(one.get('type'))}{'' if one.get('ok') is True else '(failing)'}"
        for one in values
        if isinstance(one, Mapping)
    ]
    return ",".join(names) or NOTHING


def number_of(field: str) -> Callable[[Object], str]:
    def cell(item: Object) -> str:
        value = item.get(field)
        return str(len(value)) if isinstance(value, list) else shown(value)

    return cell


def seconds_of(value: Any) -> float | None:
    """Epoch seconds of a time as the server writes it: a number or ISO 8601."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        return None
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def age(field: str) -> Callable[[Object], str]:
    def cell(item: Object) -> str:
        moment = seconds_of(item.get(field))
        return shown(item.get(field)) if not moment else duration(time.time() - moment)

    return cell


def duration(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if not seconds < 1e11:
        return NOTHING
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "m"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds // unit)}{name}"
    return f"{int(seconds // 86400)}d"


def clock(value: Any) -> str:
    """A moment in local time, to the second."""
    moment = seconds_of(value)
    try:
        return shown(value) if moment is None else time.strftime("%F %T", time.localtime(moment))
    except (OverflowError, ValueError, OSError):
        return shown(value)


def about(item: Object) -> str:
    """KIND/NAME of an event."""
    return f"{safe(item.get('kind')).lower()}/{name_of(item)}"


def several(field: str, most: int = 3) -> Callable[[Object], str]:
    """The first of a list, and how many more there are."""

    def cell(item: Object) -> str:
        value = item.get(field)
        if not isinstance(value, list) or len(value) <= most:
            return shown(value)
        return f"{shown(value[:most])} and {len(value) - most} more"

    return cell


COLUMNS: dict[str, tuple[Column, ...]] = {
    "nodes": (
        Column("NAME", name_of),
        Column("STATE", state),
        Column("ADDRESS", text("addr")),
        Column("CPUS", used("cpus", shown)),
        Column("MEMORY", used("mem", memory)),
        Column("MACHINES", number_of("machines")),
        Column("DRIVERS", drivers, wide=True),
        Column("FOREIGN", number_of("foreign"), wide=True),
        Column("LABELS", text("labels"), wide=True),
        Column("SOURCE", text("source"), wide=True),
        Column("REASON", reason),
    ),
    "images": (
        Column("NAME", name_of),
        Column("STATE", state),
        Column("TYPE", text("type")),
        Column("FORMAT", text("format")),
        Column("SIZE", lambda item: size(item.get("size"))),
        Column("MACHINES", number_of("machines")),
        Column("SHA256", text("sha256"), wide=True),
        Column("ID", text("id"), wide=True),
        Column("SOURCE", text("source"), wide=True),
        Column("REASON", reason),
    ),
    "machines": (
        Column("NAME", name_of),
        Column("STATE", state),
        Column("NODE", text("node")),
        Column("IMAGE", text("image")),
        Column("PORTS", text("ports")),
        Column("AGE", age("created")),
        Column("ID", short_id, narrow=True),
        Column("TYPE", text("type"), wide=True),
        Column("MEMORY", lambda item: memory(item.get("mem")), wide=True),
        Column("CPUS", text("cpus"), wide=True),
        Column("IP", text("ip"), wide=True),
        Column("RESTARTS", text("restarts"), wide=True),
        Column("LABELS", text("labels"), wide=True),
        Column("SOURCE", text("source"), wide=True),
        Column("ID", text("id"), wide=True),
        Column("REASON", reason),
    ),
    "sources": (
        Column("NAME", name_of),
        Column("STATE", state),
        Column("KIND", text("kind")),
        Column("COMMIT", lambda item: shown(item.get("commit"))[:12]),
        Column("OBJECTS", text("objects")),
        Column("APPLIED", age("applied")),
        Column("PATH", text("path"), wide=True),
        Column("REVISION", text("revision"), wide=True),
        Column("REASON", reason),
    ),
    "events": (
        Column("ID", text("id"), wide=True),
        Column("TIME", lambda item: clock(item.get("at"))),
        Column("OBJECT", about),
        Column("REASON", text("reason")),
        Column("MESSAGE", text("message")),
    ),
    "audit": (
        Column("ID", text("id"), wide=True),
        Column("TIME", lambda item: clock(item.get("at"))),
        Column("WHO", text("who")),
        Column("FROM", text("peer"), wide=True),
        Column("DID", text("action")),
        Column("OBJECTS", several("objects")),
        Column("METHOD", text("method"), wide=True),
        Column("PATH", text("path"), wide=True),
        Column("STATUS", text("status")),
        Column("TIMES", text("times"), wide=True),
        Column("REVISION", text("revision"), wide=True),
        Column("MESSAGE", text("message")),
    ),
}
