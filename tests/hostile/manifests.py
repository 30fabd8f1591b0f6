"""Group M: hostile manifests, as texts for `iaasctl` and as documents for the API.

Most are those that the tests of reading and validating have already; here they come by the front door.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from tests.manifests.making import MACHINE, document, machine
from tests.manifests.test_guard import HOSTILE
from tests.manifests.test_validate import DOCUMENTS, FIELDS, NAMES

IMAGE = """\
apiVersion: iaas/v1
kind: Image
metadata: {name: web}
spec:
  type: docker
"""


@dataclass(frozen=True)
class Manifest:
    """`word` is said of it; `path` begins a field that is named."""

    id: str
    text: str | bytes
    word: str
    path: str = ""

    @property
    def number(self) -> int:
        """0: not in the list."""
        head = self.id.partition("-")[0]
        return int(head[1:]) if head[1:].isdigit() else 0


def _field(id_: str, field: str, word: str = "unknown field") -> Manifest:
    """Of the spec of a machine; the last one that is written is the wrong one."""
    *_, wrong = re.findall("^  ([A-Za-z_]+)", f"  {field}", re.MULTILINE)
    return Manifest(id_, f"{MACHINE}  {field}\n", word, f"spec.{wrong}")


ESCAPES = {
    "privileged": "true",
    "pid": "host",
    "network": "host",
    "networkMode": "host",
    "hostNetwork": "true",
    "ipc": "host",
    "uts": "host",
    "userns": "host",
    "cap_add": "[ALL]",
    "security_opt": "[unconfined]",
    "devices": "[/dev/sda]",
    "cgroup_parent": "/",
    "runtime": "x",
    "sysctls": "{kernel.shmmax: '1'}",
    "binds": "[/:/host]",
    "qemuArgs": "[-monitor, stdio]",
    "xml": "<devices/>",
    "user": "root",
}
MANY = "---\n".join(MACHINE.replace("web", f"m{number}") for number in range(5000))

TEXTS = [
    *(
        Manifest(id_, text, word)
        for id_, text, _, word in HOSTILE
        if id_ != "M26-surrogate"  # no file can hold it; its bytes are M49-surrogate-bytes
    ),
    *(_field(id_, field, word) for id_, field, _, word in FIELDS),
    *(Manifest(id_, text, word) for id_, text, _, word in DOCUMENTS),
    *(
        Manifest(id_, MACHINE.replace("web", name), "use 1-63 characters", "metadata.name")
        for id_, name in NAMES
    ),
    *(
        Manifest(f"{id_}-image", MACHINE.replace("nginx", name), "use 1-63 ch", "spec.image")
        for id_, name in NAMES
    ),
    *(_field(f"M38-{name}", f"{name}: {value}") for name, value in ESCAPES.items()),
    _field("M37-root", "volumes: ['/data:/']"),
    _field("M37-proc", "mounts: [{target: /proc}]"),
    _field("M44-depends", "dependsOn: [web]"),
    _field("M44-after", "after: nothing"),
    _field("M46-selector", "nodeSelector: {disk: ssd}"),
    _field("M47-disk", "disk: 1Gi"),
    _field("M35-all", "ports: ['0.0.0.0:80:80']", "is not a port"),
    _field("M35-multicast", "ports: ['224.0.0.1:80:80']", "is not a port"),
    _field("M29-nul", 'env: {A: "x\\0"}', "control character"),
    Manifest("M32-many", MACHINE.replace("web", "web\n  labels: {" + "".join(
        f"l{n}: x, " for n in range(1000)) + "}"), "has 1000 fields; at most 64"),
    Manifest("M43-tag", IMAGE + "  registry: docker.io/x:latest\n", "does not pin an image"),
    Manifest("M43-short", IMAGE + "  registry: x@sha256:00\n", "does not pin an image"),
    Manifest("M43-option", IMAGE + "  registry: --all@sha256:" + "0" * 64 + "\n", "does not pin"),
    Manifest("M43-digest", IMAGE + "  url: https://x.test/y\n", "missing: url needs it"),
    Manifest("M52-atomic", f"{MANY}---\n{MACHINE}  cpus: 0\n", "spec.cpus: 0 is out of range"),
]  # fmt: skip


def carried(case: Manifest) -> bytes | None:
    """The same as a body for the API, as far as JSON can say it and it is a manifest there too."""
    if case.id.startswith(("M1-", "M2-", "M4-", "M5-", "M7-", "M16-")):
        return None  # what makes them hostile is YAML; JSON's own are in group R
    try:
        documents = list(yaml.safe_load_all(case.text))
        return json.dumps({"documents": documents}).encode() if documents else None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError):
        return None


def _body(**fields: Any) -> bytes:
    return json.dumps({"documents": [], **fields}).encode()


BODIES: list[tuple[str, int, bytes, str]] = [
    ("M4-brackets", 400, b'{"documents":' + b"[" * 100_000, "nested deeper than 64"),
    ("M4-braces", 400, b'{"documents":[' + b'{"a":' * 100_000, "nested deeper than 64"),
    ("M5-map", 400, b'{"documents":[' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"]}", "deeper than"),
    ("M7-values", 422, _body(documents=[machine(command=["a"] * 200_000)]), "has 200000 items"),
    ("M8-tag", 422, _body(documents=[{"!!python/object/apply:os.system": ["id"]}]), "apiVersion"),
    ("M10-twice", 400, b'{"documents":[{"kind":"Node","kind":"Image"}]}', "'kind' occurs twice"),
    ("M11-documents", 413, b'{"documents":[' + b"1," * 200_000 + b"1]}", "more than 200000"),
    ("M11-list", 400, b"[{}, {}]", "must be a JSON object"),
    ("M16-digits", 400, b'{"documents":[' + b"9" * 5000 + b"]}", "too many digits"),
    ("M16-cpus", 422, _body(documents=[machine(cpus=10**300)]), "spec"),
    ("M17-nan", 400, b'{"documents":[NaN]}', "NaN is not JSON"),
    ("M17-huge", 400, b'{"documents":[1e999]}', "too large for a number"),
    ("M22-line-end", 422, _body(documents=[document("Node", {"address": "h:1"}, "web\n")]), "name"),
    ("M26-surrogate", 400, b'{"documents":["\\ud800"]}', "surrogate"),
    ("M26-nul", 422, _body(documents=[machine(env={"A": "x\0"})]), "control character"),
    ("M29-newline", 422, _body(documents=[machine(env={"A": "x\nB=y"})]), "line end"),
    ("M49-utf-16", 400, '{"documents":[]}'.encode("utf-16"), "not UTF-8"),
    ("M49-bom", 400, b'\xef\xbb\xbf{"documents":[]}', "not JSON"),
    ("M50-scalar", 400, b'"documents"', "must be a JSON object"),
    ("M50-null", 422, b'{"documents":[null]}', "expected an object"),
    ("M52-atomic", 422, _body(documents=[
        *(document("Machine", {"image": "disk"}, f"m{n}") for n in range(4999)),
        machine(memory="-1")]), "1 fault; nothing was changed"),
]  # fmt: skip
