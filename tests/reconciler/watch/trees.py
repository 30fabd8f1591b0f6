"""Directories and git repositories for the tests, made by the real git."""

import os
import subprocess
import threading
from pathlib import Path

import yaml

from reconciler.core.sources import Applied, Source
from reconciler.sources import Sources
from reconciler.watch.directory import Directory
from reconciler.watch.pacing import Again
from tests.reconciler.world import World

ENV = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.com",
}


def git(where: Path, *words: str, check: bool = True) -> str:
    done = subprocess.run(
        ["git", "-C", where, *words],
        env=os.environ | ENV,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


def repository(where: Path) -> Path:
    where.mkdir(parents=True, exist_ok=True)
    git(where, "init", "-q", "-b", "main")
    return where


def commit(where: Path, message: str = "change") -> str:
    """Everything that is there; the id of the commit."""
    git(where, "add", "-A")
    git(where, "commit", "-q", "--allow-empty", "-m", message)
    return git(where, "rev-parse", "HEAD")


def node(number: int) -> str:
    """A manifest that needs nothing else."""
    spec = {"address": f"127.0.0.1:{7000 + number}"}
    return yaml.safe_dump(
        {"apiVersion": "iaas/v1", "kind": "Node", "metadata": {"name": f"n{number}"}, "spec": spec}
    )


def nodes(where: Path, *numbers: int) -> None:
    """One file for each."""
    where.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (where / f"n{number}.yaml").write_text(node(number))


class Watched:
    """A directory that is looked at when the test says so."""

    def __init__(self, world: World, path: Path, name: str = "dir:shop") -> None:
        self.world = world
        self.name = name
        self.sources = Sources(world.cluster, lambda: world.now)
        self.rung = threading.Event()
        self.directory = Directory(
            name,
            str(path),
            desk=world.desk,
            sources=self.sources,
            clock=lambda: world.now,
            ring=self.rung.set,
            stopping=lambda: False,
        )

    def waits_for_a_ring(self) -> None:
        """Until the system has told of a change."""
        assert self.rung.wait(10.0)

    def look(self, *, tries: bool = False) -> Again | None:
        """One look; a second one where the first wants to be sure."""
        look = self.directory.look(tries=tries)
        if look.again is Again.SOON:
            look = self.directory.look(tries=True)
        return look.again

    @property
    def state(self) -> str:
        return str(self.seen.state)

    @property
    def seen(self) -> Source:
        return next(source for source, _ in self.sources.all() if source.name == self.name)

    @property
    def row(self) -> Applied:
        return self.world.store.sources()[self.name]

    @property
    def objects(self) -> set[str]:
        """Names of what it owns and what does not go."""
        return {
            str(item.name)
            for item in self.world.store.snapshot().objects.values()
            if item.source == self.name and not item.deleting
        }

    @property
    def told(self) -> list[str]:
        """The reasons of the events about it."""
        return [item.event.reason for item in self.world.store.events(kind="Source")]
