"""A control plane alone: a real `iaas-reconciler` on real files, and a node whose agent never answers.

Machines on that node are stored, checked and listed like any other, and stay pending; so what the
desk and the store promise can be tried without an engine, and as often as wanted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.conftest import unclean
from tests.e2e.lab import Lab


@contextmanager
def control_plane() -> Iterator[Lab]:
    """With the node `n1`. Taken down whole; no log and no command line had a secret."""
    lab = Lab()
    lab.reconciler.start()
    try:
        lab.ctl("node", "add", "n1", "127.0.0.1:1")
        yield lab
        assert not unclean(lab)
    finally:
        lab.reconciler.kill()
        lab.forget()


def add_image(lab: Lab) -> None:
    """`nginx`, of a few bytes: nobody ever starts from it."""
    disk: Path = lab.dir / "nginx.raw"
    disk.write_bytes(b"\0" * 4096)
    lab.ctl("img", "add", "nginx", str(disk))
