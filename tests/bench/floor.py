"""The floor: the docker SDK called directly from four threads, in a process that is already warm."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import docker

LABEL = "iaas-bench"


class Floor:
    """Containers like ours, made with nothing in between."""

    def __init__(self, image: str) -> None:
        self._client = docker.from_env(max_pool_size=16)
        self._image = image
        self._pool = ThreadPoolExecutor(4)

    def create(self, count: int) -> float:
        return timed(lambda: list(self._pool.map(self._run, range(count))))

    def _run(self, _: int) -> None:
        self._client.containers.run(
            self._image, detach=True, mem_limit="64m", nano_cpus=10**7 * 10, labels=[LABEL]
        )

    def remove(self) -> float:
        mine = self._client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True)
        return timed(lambda: list(self._pool.map(lambda it: it.remove(force=True, v=True), mine)))

    def restart(self) -> float:
        """A bare start of a container that was killed."""
        self.create(1)
        (container,) = self._client.containers.list(filters={"label": LABEL})
        container.kill()
        container.wait()
        seconds = timed(container.start)
        self.remove()
        return seconds

    def close(self) -> None:
        self.remove()
        self._client.close()


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
