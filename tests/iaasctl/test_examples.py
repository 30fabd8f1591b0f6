"""Every example manifest loads and is valid: newcomers copy them."""

from pathlib import Path

import pytest

from manifests.kinds import manifest_from
from manifests.load import load_paths
from manifests.validate import validate_documents

EXAMPLES = Path(__file__).parents[2] / "examples"
MANIFESTS = sorted(EXAMPLES.rglob("*.yaml"))


def test_there_are_examples() -> None:
    assert EXAMPLES / "cluster.yaml" in MANIFESTS


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_an_example_is_valid(path: Path) -> None:
    loaded = load_paths([str(path)])
    assert loaded.problems == ()
    assert list(validate_documents(loaded.documents)) == []


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_an_example_is_whole(path: Path) -> None:
    """Its machines name images of the same file, and its ports are used once."""
    manifests = [manifest_from(item.data) for item in load_paths([str(path)]).documents]
    keys = {item.key for item in manifests}
    machines = [item.spec for item in manifests if item.kind == "Machine"]
    assert {("Image", spec.image) for spec in machines} <= keys
    ports = [(port.node, port.protocol) for spec in machines for port in spec.ports]
    assert len(ports) == len(set(ports))
    for item in manifests:
        if item.kind == "Image":
            assert Path(item.spec.file).parts[0] == "images"
