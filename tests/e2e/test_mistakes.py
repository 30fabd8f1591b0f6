"""A file with mistakes is refused whole, with all of them said, each where it is."""

import pytest

from tests.e2e.lab import Lab

pytestmark = [pytest.mark.docker, pytest.mark.timeout(60)]

MISTAKEN = """\
apiVersion: iaas/v1
kind: Node
metadata: {name: n9}
spec: {address: nowhere}
---
apiVersion: iaas/v1
kind: Machine
metadata: {name: Web_1}
spec:
  image: web
  memroy: 64Mi
  ports: ["99999:80"]
---
apiVersion: iaas/v1
kind: Machine
metadata: {name: good}
spec: {image: web}
---
apiVersion: iaas/v1
kind: Machine
metadata: {name: b}
spec:
  image: web
  cpus: lots
"""
PLACES = {4: "nowhere", 8: "Web_1", 11: "memroy", 12: "99999", 24: "lots"}
"""The line of each mistake, and a word that what is said of it must contain."""


@pytest.mark.parametrize("command", [("apply", 2), ("plan", 1)], ids=["apply", "plan"])
def test_five_mistakes_at_once(small: Lab, command: tuple[str, int]) -> None:
    before = small.get("machines"), small.get("images"), small.events()
    path = small.dir / "mistaken.yaml"
    path.write_text(MISTAKEN)
    verb, code = command
    said = small.ctl(verb, "-f", str(path), code=code).err
    print(said)
    for line, word in PLACES.items():
        (found,) = (text for text in said.splitlines() if text.startswith(f"{path}:{line}:"))
        assert word in found
    assert "memory" in said, "a suggestion for the misspelt field"
    assert (small.get("machines"), small.get("images"), small.events()) == before


def test_bytes_that_are_no_image_are_refused(small: Lab) -> None:
    (small.dir / "bad.tar").write_bytes(b"not an archive" * 1000)
    path = small.dir / "bad.yaml"
    path.write_text(
        "apiVersion: iaas/v1\nkind: Image\nmetadata: {name: bad}\n"
        "spec: {type: docker, file: bad.tar}\n"
    )
    said = small.ctl("apply", "-f", str(path), code=2).err
    print(said)
    assert f"{path}:4" in said
    small.ctl("get", "image", "bad", code=4)
