"""Fifty people who want the same port at the same moment: one gets it, the others are told who has it."""

import os
import subprocess
import sys
import time
from collections import Counter

import pytest

from tests.e2e.control import add_image, control_plane
from tests.e2e.ports import free_port

pytestmark = pytest.mark.timeout(120)

RACERS = 50
CONFLICT = 5
LONGEST = 60.0
"""Seconds from the barrier to the last answer, on two busy cores."""
RACER = """
import sys
from iaasctl import client, lab, transport  # loaded before the start, so that requests race, not imports
from iaasctl.commands import vm
from iaasctl.main import main
print("ready", flush=True)
sys.stdin.read()
sys.exit(main(sys.argv[1:]))
"""
"""`iaasctl`, held at a barrier: its standard input, which ends for all of them at once."""


def test_of_fifty_vm_adds_of_one_port_exactly_one_succeeds() -> None:
    """Each is a process of its own. The node's agent is not needed to refuse."""
    with control_plane() as lab:
        add_image(lab)
        port = free_port()
        words = ("vm", "add", "nginx", "-n", "n1", "-p", f"{port}:80")
        barrier, start = os.pipe()
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", RACER, *words],
                env=os.environ | lab.environment,
                stdin=barrier,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(RACERS)
        ]
        os.close(barrier)
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        os.close(start)
        began = time.monotonic()
        ends = [(*racer.communicate(timeout=LONGEST), racer.returncode) for racer in racers]
        took = time.monotonic() - began
        codes = Counter(code for _, _, code in ends)
        (machine,) = lab.get("machines")
        owner = f"port {port}/tcp of node 'n1' is taken by machine {machine['name']}"
        named = sum(code == CONFLICT and owner in err for _, err, code in ends)
        print(
            f"{codes[0]} of {RACERS} succeeded, {codes[CONFLICT]} ended with {CONFLICT},"
            f" {named} of them name {machine['name']}; {took:.1f} s"
        )
        assert codes == {0: 1, CONFLICT: RACERS - 1}, ends
        assert named == RACERS - 1, ends
        assert sorted(out for out, _, _ in ends)[-1] == f"{machine['id']}\n"
        assert took < LONGEST
