"""Long-polling: versions, and waiting for another one."""

import threading
import time

import pytest

from reconciler.api.roles import Role
from tests.reconciler.test_api import filled
from tests.reconciler.world import VIEWER, World, machine


def test_a_known_version_answers_304_and_waits_if_asked(world: World) -> None:
    client = filled(world)
    tag = client.get("/iaas/machines").headers["etag"]
    start = time.monotonic()
    assert client.get("/iaas/machines", headers={"If-None-Match": tag}).status_code == 304
    assert time.monotonic() - start < 0.2
    headers = {"If-None-Match": tag, "Prefer": "wait=0.300"}
    answer = client.get("/iaas/machines", headers=headers)
    assert (answer.status_code, answer.headers["etag"], answer.content) == (304, tag, b"")
    assert 0.3 <= time.monotonic() - start < 2


def test_a_waiting_request_answers_as_soon_as_something_changes(world: World) -> None:
    client = filled(world)
    tag = client.get("/iaas/machines").headers["etag"]
    timer = threading.Timer(0.1, lambda: world.desk.apply([machine("late")]))
    timer.start()
    start = time.monotonic()
    headers = {"If-None-Match": tag, "Prefer": "wait=20"}
    answer = client.get("/iaas/machines", headers=headers)
    assert time.monotonic() - start < 5
    assert [item["name"] for item in answer.json()] == ["late", "web"]
    assert answer.headers["etag"] != tag
    timer.join()


def test_who_waits_is_told_nothing_once_the_token_is_taken_back(world: World) -> None:
    filled(world)
    client = world.client(VIEWER)

    def take_back() -> None:
        world.secrets[Role.VIEWER] = "another-token-for-viewers"
        world.cluster.signal.bump()

    for path in ("/iaas/machines", "/iaas/machines/web"):
        world.secrets[Role.VIEWER] = VIEWER
        tag = client.get(path).headers["etag"]
        timer = threading.Timer(0.1, take_back)
        timer.start()
        answer = client.get(path, headers={"If-None-Match": tag, "Prefer": "wait=20"})
        timer.join()
        assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")


@pytest.mark.parametrize("tag", ['"1.99"', '"7.1"', "W/x", "", '"', "*"])
def test_a_version_of_another_time_does_not_wait(world: World, tag: str) -> None:
    headers = {"If-None-Match": tag, "Prefer": "wait=20"}
    start = time.monotonic()
    assert world.client().get("/iaas/machines", headers=headers).status_code == 200
    assert time.monotonic() - start < 1


def test_only_so_many_may_wait(world: World) -> None:
    tag = world.client().get("/iaas/nodes").headers["etag"]
    headers = {"If-None-Match": tag, "Prefer": "wait=20"}
    statuses: list[int] = []

    def wait() -> None:
        status = 429
        while status == 429:  # the request below has the last place for a moment
            status = world.client().get("/iaas/nodes", headers=headers).status_code
        statuses.append(status)

    threads = [threading.Thread(target=wait) for _ in range(24)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        answer = world.client().get("/iaas/nodes", headers=headers | {"Prefer": "wait=0.05"})
        if answer.status_code == 429:
            break
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
    assert world.client().get("/iaas/nodes").status_code == 200
    world.deps.close()
    for thread in threads:
        thread.join(timeout=10)
    assert statuses == [200] * 24


def test_nobody_waits_for_a_server_that_stops(world: World) -> None:
    world.deps.close()
    tag = world.client().get("/iaas/nodes").headers["etag"]
    start = time.monotonic()
    headers = {"If-None-Match": tag, "Prefer": "wait=20"}
    assert world.client().get("/iaas/nodes", headers=headers).status_code == 304
    assert time.monotonic() - start < 1
