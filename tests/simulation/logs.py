"""What the product logs as an error is a violation: in a simulation nothing is there to excuse it."""

from __future__ import annotations

import logging

EXPECTED = ("could not be stored", "no room on the disk")


class Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            text += f": {type(error).__name__}: {error}"
        self.found.append(text)


KEEPER = Keeper()


def watch() -> None:
    """Take over the product's loggers in this process."""
    for name in ("hyper", "reconciler"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.ERROR)
        logger.propagate = False
        if KEEPER not in logger.handlers:
            logger.addHandler(KEEPER)


def trouble() -> str:
    """The first error logged since the last call."""
    if not KEEPER.found:
        return ""
    found = [text for text in KEEPER.found if not any(word in text for word in EXPECTED)]
    KEEPER.found.clear()
    return found[0] if found else ""
