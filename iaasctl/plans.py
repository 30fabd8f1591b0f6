"""A plan as people read it: what is done to what, why, and which fields change with which effect."""

import json
from typing import Any

from iaasctl.answers import FieldChange, Line, Outcome
from iaasctl.terminal import can_show, paint, safe

ACTIONS = {
    "create": ("+", "green"),
    "update": ("~", "yellow"),
    "restart": ("!", "yellow"),
    "replace": ("±", "magenta"),
    "delete": ("-", "red"),
}
VALUE_LIMIT = 120


def plan_text(outcome: Outcome) -> str:
    """The plan, with a summary as its last line."""
    lines = [part for line in outcome.lines for part in _line(line)]
    needs = [f"it would need --approve: {safe(outcome.brake)}"] if outcome.brake else []
    return "\n".join([*lines, summary(outcome), *needs])


def summary(outcome: Outcome) -> str:
    """`3 to create, 1 to replace`, or `no changes`."""
    actions = [line.action for line in outcome.lines]
    order = [*ACTIONS, *sorted(set(actions) - set(ACTIONS))]
    counts = [f"{actions.count(name)} to {safe(name)}" for name in order if name in actions]
    return ", ".join(counts) or "no changes"


def _line(line: Line) -> list[str]:
    sign, colour = ACTIONS.get(line.action, ("?", ""))
    sign = sign if can_show(sign) else "x"
    head = paint(f"{sign} {safe(line.action)} {safe(line.kind).lower()} {safe(line.name)}", colour)
    reason = f": {safe(line.reason)}" if line.reason else ""
    return [head + reason, *_changes(line.changes)]


def _changes(changes: tuple[FieldChange, ...]) -> list[str]:
    width = max((len(change.field) for change in changes), default=0)
    return [f"    {_change(change, width)}" for change in changes]


def _change(change: FieldChange, width: int) -> str:
    values = f"{_value(change.old)} -> {_value(change.new)}"
    effect = ": ".join(safe(part) for part in (change.effect, change.why) if part)
    return f"{safe(change.field).ljust(width)}  {values}" + (f"  ({effect})" if effect else "")


def _value(value: Any) -> str:
    """The value as it would stand in a manifest, on one line, and not endless."""
    if value is None:
        return "(none)"
    text = safe(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= VALUE_LIMIT else f"{text[: VALUE_LIMIT - 3]}..."
