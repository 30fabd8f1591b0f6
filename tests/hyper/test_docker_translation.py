"""What the Docker driver tells the engine of a machine, and reads from what the engine tells: pure."""

from typing import Any
from unittest.mock import Mock

import pytest
import requests
from docker.errors import APIError

from hyper.core.model import Life
from hyper.drivers import DriverError, EngineDown, Refused
from hyper.drivers.docker_connection import told
from hyper.drivers.docker_words import NEVER, configuration, ending, instance_of, tags_of_ours
from manifests.kinds.image import ImageFormat, MachineType
from manifests.scalars import Cpus, Memory, Name, Port, Sha256, Uid
from manifests.wire import ImageRef, Placement

CLUSTER = "0a0a0a0a-0000-4000-8000-000000000000"
UID = "1b1b1b1b-0000-4000-8000-000000000000"
IMAGE = ImageRef(sha256=Sha256("e" * 64), format=ImageFormat.DOCKER_ARCHIVE, size=1)
PLACEMENT = Placement(
    uid=Uid(UID),
    epoch=3,
    name=Name("web"),
    type=MachineType.DOCKER,
    image=IMAGE,
    memory=Memory(256),
    cpus=Cpus(500),
    digest="d" * 64,
    ports=(Port.from_json("8080:80"), Port.from_json("8081:80"), Port.from_json("53:53/udp")),
    env={"A": "1", "EMPTY": "", "TEXT": "a=b c"},
)


def details(**changes: Any) -> dict[str, Any]:
    config = configuration(PLACEMENT, CLUSTER)
    shown: dict[str, Any] = {
        "Id": "f" * 64,
        "Name": "/iaas-web-1b1b1b1b",
        "Config": {"Labels": config["Labels"], "Image": config["Image"]},
        "HostConfig": config["HostConfig"],
        "State": {
            "Status": "running",
            "ExitCode": 0,
            "OOMKilled": False,
            "Error": "",
            "StartedAt": "2026-11-23T02:28:39Z",
        },
    }
    for path, value in changes.items():
        part, _, key = path.partition("__")
        shown[part] = shown[part] | {key: value}
    return shown


def label(name: str, value: str | None) -> dict[str, Any]:
    labels = dict(configuration(PLACEMENT, CLUSTER)["Labels"])
    if value is None:
        del labels[name]
    else:
        labels[name] = value
    return details(Config__Labels=labels)


def test_a_machine_as_a_container() -> None:
    assert configuration(PLACEMENT, CLUSTER) == {
        "Image": "iaas-image:" + "e" * 64,
        "Hostname": "web",
        "Env": ["A=1", "EMPTY=", "TEXT=a=b c"],
        "Labels": {
            "iaas.cluster": CLUSTER,
            "iaas.uid": UID,
            "iaas.epoch": "3",
            "iaas.digest": "d" * 64,
            "iaas.name": "web",
        },
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "HostConfig": {
            "Memory": 256 << 20,
            "MemorySwap": 256 << 20,
            "NanoCpus": 500_000_000,
            "PortBindings": {
                "80/tcp": [
                    {"HostIp": "0.0.0.0", "HostPort": "8080"},
                    {"HostIp": "0.0.0.0", "HostPort": "8081"},
                ],
                "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "53"}],
            },
            "PidsLimit": 4096,
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        },
    }


def test_what_was_made_is_recognised() -> None:
    instance = instance_of(details(), CLUSTER)

    assert instance is not None
    assert (instance.uid, instance.epoch, instance.digest) == (UID, 3, "d" * 64)
    assert (instance.memory, instance.cpus) == (Memory(256), Cpus(500))
    assert (instance.handle, instance.name) == ("f" * 64, "iaas-web-1b1b1b1b")
    assert (instance.life, instance.ran, instance.ip) == (Life.RUNNING, True, "")


@pytest.mark.parametrize(
    "shown",
    [
        details(Config__Labels=None),
        details(Config__Labels={}),
        details(Config__Image="nginx:latest"),
        details(Config__Image="evil/iaas-image:x"),
        label("iaas.cluster", UID),
        label("iaas.cluster", ""),
        label("iaas.uid", None),
        label("iaas.uid", "../../etc"),
        label("iaas.uid", UID.upper()),
        label("iaas.uid", UID + "\n"),
        label("iaas.epoch", None),
        label("iaas.epoch", ""),
        label("iaas.epoch", "-1"),
        label("iaas.epoch", "1.0"),
        label("iaas.epoch", "٣"),
        label("iaas.epoch", "9" * 5000),
        label("iaas.digest", None),
        label("iaas.digest", ""),
        label("iaas.name", None),
        label("iaas.name", "Not A Name"),
    ],
)
def test_what_is_not_wholly_ours_is_not_ours(shown: dict[str, Any]) -> None:
    assert instance_of(shown, CLUSTER) is None


def test_only_names_of_our_giving_are_ours() -> None:
    images: list[dict[str, Any]] = [
        {"RepoTags": ["nginx:latest", "iaas-image:b"]},
        {"RepoTags": None},
        {"RepoTags": ["evil/iaas-image:x", "iaas-image-not:x", "iaas-image:a"]},
        {"RepoTags": ["iaas-image:c", "nginx:1"], "RepoDigests": ["nginx@sha256:c"]},
    ]
    assert tags_of_ours(images) == ["iaas-image:b", "iaas-image:a", "iaas-image:c"]


def test_what_was_pulled_for_us_goes_by_its_digest_and_the_mark_of_it_last() -> None:
    digests = ["nginx@sha256:c", "mirror/nginx@sha256:c", "nginx@sha256:d"]
    image = {"RepoTags": ["iaas-pulled:c", "nginx:1", "iaas-image:c"], "RepoDigests": digests}
    assert tags_of_ours([image]) == ["iaas-image:c", *digests[:2], "iaas-pulled:c"]


def test_without_a_cluster_nothing_is_ours() -> None:
    assert instance_of(label("iaas.cluster", ""), "") is None


@pytest.mark.parametrize(
    ("status", "life"),
    [
        ("created", Life.STOPPED),
        ("running", Life.RUNNING),
        ("paused", Life.PAUSED),
        ("restarting", Life.STOPPED),
        ("removing", Life.STOPPED),
        ("exited", Life.STOPPED),
        ("dead", Life.STOPPED),
        ("invented later", Life.STOPPED),
    ],
)
def test_lives(status: str, life: Life) -> None:
    instance = instance_of(details(State__Status=status), CLUSTER)
    assert instance is not None
    assert instance.life is life


@pytest.mark.parametrize(
    ("state", "ended"),
    [
        ({"ExitCode": 0}, "exit code 0"),
        ({"ExitCode": 3}, "exit code 3"),
        ({"ExitCode": 137}, "exit code 137: killed"),
        ({"ExitCode": 137, "OOMKilled": True}, "exit code 137: killed (out of memory)"),
        ({"ExitCode": 1, "OOMKilled": True}, "exit code 1: killed (out of memory)"),
        ({"ExitCode": 139}, "exit code 139: SIGSEGV"),
        ({"ExitCode": 143}, "exit code 143: SIGTERM"),
        ({"ExitCode": 0, "StartedAt": NEVER}, ""),
        (
            {
                "ExitCode": 128,
                "StartedAt": NEVER,
                "Error": "driver failed programming external connectivity on endpoint t2 (9a87): "
                "Bind for 0.0.0.0:8099 failed: port is already allocated",
            },
            "port 8099 on this node is in use by another container",
        ),
    ],
)
def test_how_it_ended(state: dict[str, Any], ended: str) -> None:
    usual = {"ExitCode": 0, "OOMKilled": False, "Error": "", "StartedAt": "2026"}
    assert ending(usual | state) == ended


@pytest.mark.parametrize(
    ("status", "message", "kind", "sentence"),
    [
        (
            500,
            "driver failed programming external connectivity on endpoint t3 (53cd): "
            "Error starting userland proxy: listen tcp4 0.0.0.0:8098: bind: address already in use",
            DriverError,
            "port 8098 on this node is in use by another program",
        ),
        (
            500,
            "failed to listen on UDP socket: listen udp4 0.0.0.0:53: bind: address already in use",
            DriverError,
            "port 53 on this node is in use by another program",
        ),
        (
            400,
            "failed to create shim task: OCI runtime create failed: runc create failed: unable to "
            'start container process: exec: "/nope": stat /nope: no such file or directory: unknown',
            Refused,
            "the image has no program '/nope' that can be run",
        ),
        (
            400,
            'OCI runtime create failed: exec: "x": executable file not found in $PATH: unknown',
            Refused,
            "the image has no program 'x' that can be run",
        ),
        (400, "Range of CPUs is from 0.01 to 2.00", Refused, "Range of CPUs is from 0.01 to 2.00"),
        (500, "device or\nresource busy", DriverError, "device or resource busy"),
        (503, "shutting down", EngineDown, "shutting down"),
        (500, "x" * 5000, DriverError, "x" * 300 + "..."),
    ],
)
def test_refusals_as_sentences(
    status: int, message: str, kind: type[DriverError], sentence: str
) -> None:
    response = Mock(spec=requests.Response, status_code=status, reason="", url="")

    error = told(APIError("", response, message))

    assert isinstance(error, kind)
    assert isinstance(error, (Refused, EngineDown)) == (kind is not DriverError)
    assert str(error) == sentence
