"""The peer: one service of N replicas in Swarm mode on loopback, left again afterwards."""

import time
from collections.abc import Callable

import docker
from docker.types import Resources, RestartPolicy

SERVICE = "iaas-bench"
LABEL = f"com.docker.swarm.service.name={SERVICE}"


class Swarm:
    def __init__(self, image: str) -> None:
        self._client = docker.from_env()
        self._image = image
        self._client.swarm.init(advertise_addr="127.0.0.1", listen_addr="127.0.0.1:2377")

    def create(self, count: int) -> float:
        """Seconds until `docker service create` has `count` running containers."""
        start = time.perf_counter()
        self._client.services.create(
            self._image,
            name=SERVICE,
            mode=docker.types.ServiceMode("replicated", count),
            resources=Resources(mem_limit=64 << 20, cpu_limit=10**8),
            restart_policy=RestartPolicy("any", delay=0),
        )
        self._until(lambda: len(self._running()) == count)
        return time.perf_counter() - start

    def remove(self) -> float:
        start = time.perf_counter()
        self._client.services.get(SERVICE).remove()
        self._until(lambda: not self._client.api.containers(all=True, filters={"label": LABEL}))
        return time.perf_counter() - start

    def restart(self) -> float:
        """Seconds from a kill to a running container again, restart delay 0."""
        self.create(1)
        (old,) = self._running()
        self._client.api.kill(old)
        start = time.perf_counter()
        self._until(lambda: any(it != old for it in self._running()))
        seconds = time.perf_counter() - start
        self.remove()
        return seconds

    def _running(self) -> list[str]:
        found = self._client.api.containers(filters={"label": LABEL, "status": "running"})
        return [item["Id"] for item in found]

    @staticmethod
    def _until(done: Callable[[], bool], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError("Swarm did not get there")
            time.sleep(0.01)

    def close(self) -> None:
        self._client.swarm.leave(force=True)
        self._client.close()
