"""Tokens are in their files and nowhere else. (Logs and command lines are looked at after every test.)"""

import http.client

import pytest

from tests.e2e.cluster import Cluster

pytestmark = [pytest.mark.docker, pytest.mark.libvirt, pytest.mark.timeout(100)]

PATHS = (
    "/health",
    "/iaas/nodes",
    "/iaas/nodes/n1",
    "/iaas/images",
    "/iaas/machines",
    "/iaas/machines/web1",
    "/iaas/events",
    "/iaas/audit",
    "/iaas/sources",
    "/iaas/nowhere",
)


def ask(port: int, path: str, token: str = "") -> tuple[int, str]:
    """Status, and all that comes back, headers included."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, str(answer.getheaders()) + answer.read().decode()
    finally:
        connection.close()


def test_no_answer_holds_a_token(cluster: Cluster) -> None:
    lab = cluster.lab
    admin, agent, operator, viewer = lab.secrets()
    answers = [
        ask(port, path, token)
        for port in (lab.api_port, lab.agent_port)
        for path in PATHS
        for token in (admin, agent, operator, viewer, "")
    ]
    assert {status for status, _ in answers} >= {200, 401, 403, 404}
    texts = [text for _, text in answers]
    texts += [lab.ctl("get", "all", "-o", "json").out, lab.ctl("describe", "node", "n1").out]
    texts += [lab.ctl("events", "-o", "json").out]
    texts += [lab.ctl("audit", "-o", "json").out]
    assert not [text for text in texts for secret in lab.secrets() if secret in text]


def test_no_engine_is_told_a_token(cluster: Cluster) -> None:
    texts = [str(cluster.container()), cluster.domain().XMLDesc()]
    assert not [text for text in texts for secret in cluster.lab.secrets() if secret in text]


def test_files_with_secrets_are_for_their_owner_alone(cluster: Cluster) -> None:
    lab = cluster.lab
    holders = [
        path
        for path in lab.dir.rglob("*")
        if path.is_file() and any(it.encode() in path.read_bytes() for it in lab.secrets())
    ]
    print([str(path.relative_to(lab.dir)) for path in holders])
    assert {lab.token, lab.agent_token} <= set(holders)
    assert len({path.read_text() for path in holders if path.name.endswith("token")}) == 4
    assert [path for path in holders if path.stat().st_mode & 0o077] == []
