"""What the host has to hand out."""

import os
from pathlib import Path

from manifests.scalars import Cpus, Memory

SHARES = 16
"""A machine's cpus are a limit, not a reservation: each real processor is handed out this often."""
RESERVE = 256
"""MiB kept for the host itself, or a twentieth where that is more."""


def cpus() -> Cpus:
    return Cpus((os.cpu_count() or 1) * SHARES * 1000)


def memory(meminfo: Path = Path("/proc/meminfo")) -> Memory:
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemTotal:"):
            total = int(line.split()[1]) // 1024
            return Memory(max(total - max(RESERVE, total // 20), 0))
    return Memory(0)
