"""A world whose reconcile loop is at work, in a thread of its own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.loop import Loop
from tests.reconciler.world import World


@contextmanager
def looping(world: World) -> Iterator[World]:
    loop, ready = asyncio.new_event_loop(), threading.Event()
    work = Loop(world.cluster, world.term, lambda: world.now)

    def run() -> None:
        task = loop.create_task(work.run())
        loop.call_soon(ready.set)
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            loop.run_until_complete(loop.shutdown_default_executor())

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    try:
        yield world
    finally:
        for task in asyncio.all_tasks(loop):
            loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()
