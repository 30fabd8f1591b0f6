"""Spans of time on the command line: 90, 90s, 5m, 1h."""

import re
from typing import Any

import click

UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Seconds(click.ParamType[float]):
    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, int | float):
            return float(value)
        found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|)", value)
        if not found:
            self.fail(f"{value!r} is not a span of time; write 90s, 5m or 1h", param, ctx)
        return float(found[1]) * UNITS[found[2]]


SECONDS = Seconds()
