"""Which faults happen how often: drawn once per seed, so that runs differ in kind, not only in detail."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

LIKELIHOOD = {
    "question lost": 0.08,
    "question doubled": 0.06,
    "answer lost": 0.08,
    "answer doubled": 0.05,
    "notice lost": 0.15,
    "notice doubled": 0.1,
    "call failed": 0.05,
    "reply lost": 0.05,
    "engine down": 0.02,
    "agent crash in call": 0.03,
    "agent crash after call": 0.01,
    "change during call": 0.03,
    "ledger full": 0.02,
    "store full": 0.004,
    "controller crash in write": 0.004,
    "client answer lost": 0.15,
    "publishing failed": 0.1,
    "fetch failed": 0.1,
    "disk nearly full": 0.1,
    "slow look": 0.5,
}
"""Chance of each fault at each of its occasions, where a seed has that fault at all."""


class Crashed(BaseException):
    """A program ends here: not an Exception, for nothing in the product may handle it."""


@dataclass
class Faults:
    rng: random.Random
    on: bool = True
    chance: dict[str, float] = field(default_factory=dict)
    count: Counter[str] = field(default_factory=Counter)

    @classmethod
    def drawn(cls, rng: random.Random) -> Faults:
        """Each kind with a chance of its own, or not at all."""
        chance = {
            name: usual * rng.choice((0.3, 1, 1, 3)) if rng.random() < 0.6 else 0.0
            for name, usual in LIKELIHOOD.items()
        }
        return cls(rng, chance=chance)

    def hit(self, name: str) -> bool:
        """Whether this fault happens now."""
        chance = self.chance[name]
        if not self.on or not chance or self.rng.random() >= chance:
            return False
        self.count[name] += 1
        return True

    def did(self, name: str) -> None:
        """A fault that is an event of its own happened."""
        self.count[name] += 1
