"""Every mistake in a manifest has its sentence and its line; and what is right passes unchanged.

Ids such as M19 are those of the list of hostile inputs that this answers to.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.checks import check_set
from manifests.guard import read
from manifests.kinds import KINDS, Manifest, document_of, manifest_from
from manifests.kinds.image import FORMATS, ImageSpec, MachineType
from manifests.kinds.machine import MachineSpec, OnNodeFailure, PowerState, Restart, RestartPolicy
from manifests.kinds.node import Capacity, NodeSpec
from manifests.load import load_text
from manifests.problem import Fault, did_you_mean
from manifests.scalars import Address, Cpus, Memory, Name, Port, Protocol, Sha256
from manifests.validate import parse_set, validate, validate_documents
from tests.manifests.making import MACHINE, assert_says, document, machine, patient, problems_of

NAMES = [
    ("M22-line-end", '"web\\n"'),
    ("M23-64", "a" * 64),
    ("M23-empty", '""'),
    ("M23-dash-first", "-a"),
    ("M23-dash-last", "a-"),
    ("M23-upper", "A"),
    ("M23-cyrillic", "имя"),
    ("M23-homoglyph", "wеb"),
    ("M23-rtl-mark", "web\u200f"),
    ("M23-zero-width", "we\u200bb"),
    ("M23-digit-first", "1a"),
    ("M25-xml", "'web</name><devices>'"),
    ("M26-nul", '"a\\tb"'),
    ("M28-option", "--privileged"),
    ("M28-volume", "-v/:/h"),
    ("path", "../../etc"),
    ("template", '"{{ lookup(1) }}"'),
]


@pytest.mark.parametrize("name", [name for _, name in NAMES], ids=[item for item, _ in NAMES])
def test_what_is_not_a_name_is_refused(name: str) -> None:
    text = MACHINE.replace("web", name)
    assert_says(problems_of(text), 4, "metadata.name: ")
    assert_says(problems_of(text), 4, "use 1-63 characters")
    assert_says(problems_of(MACHINE.replace("nginx", name)), 6, "spec.image: ")


FIELDS = [
    ("M13-port", "ports: [80:59]", 7, "ports[0]: 80:59 is a number in base 60 in YAML; quote it"),
    ("M14-node", "node: no", 7, "'no' means false"),
    ("M16-cpus", "cpus: " + "9" * 5000, 7, "more digits"),
    ("M17-memory", "memory: .inf", 7, "not a finite number"),
    ("M19-zero", "cpus: 0", 7, "spec.cpus: 0 is out of range; from 0.01 to 1024"),
    ("M19-negative", "cpus: -1", 7, "out of range"),
    ("M19-tiny", "cpus: 0.0001", 7, "out of range"),
    ("M19-huge", "cpus: 1000000000", 7, "out of range"),
    ("M19-step", "cpus: 0.0105", 7, "steps of 0.001"),
    ("M19-milli", "cpus: 1m", 7, "is not a number of processors; write 2, 0.5 or 500m"),
    ("M19-milli-huge", "cpus: 9999999m", 7, "out of range"),
    ("M20-unit", "memory: '1 GB '", 7, "'1 GB ' is not an amount of memory; write 256Mi or 2Gi"),
    ("M20-spaces", "memory: ' 12Mi '", 7, "is not an amount of memory"),
    ("M20-unicode", "memory: １２Mi", 7, "is not an amount of memory"),
    ("M20-unicode-cpus", "cpus: １２", 7, "is not a number of processors"),
    ("M20-plus", "memory: +5Mi", 7, "is not an amount of memory"),
    ("M20-number", "memory: 256", 7, "256 is not an amount of memory"),
    ("M20-true", "memory: true", 7, "True is not an amount of memory"),
    ("M20-zero", "memory: 0Mi", 7, "is not an amount of memory"),
    ("M20-least", "memory: 7Mi", 7, "out of range; from 8Mi to 64Ti"),
    ("M20-most", "memory: 99999999Ti", 7, "out of range"),
    ("M20-line-end", 'memory: "8Mi\\n"', 7, "is not an amount of memory"),
    ("M29-value", 'env: {A: "a\\nB=1"}', 7, "spec.env.A: holds a line end"),
    ("M29-key", "env: {A=B: x}", 7, "spec.env['A=B']: 'A=B' cannot be a name here; use letters"),
    ("M29-key-line-end", 'env: {"A\\n": x}', 7, "cannot be a name here"),
    ("M29-empty-key", 'env: {"": x}', 7, "cannot be a name here"),
    ("M31-many", "env:\n" + "".join(f"    A{n}: x\n" for n in range(9000)), 8, "has 9000 fields"),
    ("M31-long", "env: {A: " + "x" * 1_000_000 + "}", 7, "has 1000000 characters; at most 32768"),
    ("M31-number", "env: {A: 1}", 7, "spec.env.A: expected text, got a number; quote it"),
    ("M31-true", "env: {A: true}", 7, "expected text, got true or false; quote it"),
    ("M34-same", 'ports: ["1:1",\n    "1:1"]', 8, "spec.ports[1]: '1:1' is there twice"),
    ("M34-tcp", 'ports: ["1:1",\n    "1:2/tcp"]', 8, "1/tcp is already used by ports[0]"),
    ("M34-case", "ports: [1:80/TCP]", 7, "'1:80/TCP' is not a port"),
    ("M34-range", "ports: [1-65535]", 7, "is not a port"),
    ("M34-too-high", "ports: [70000:80]", 7, "ports go from 1 to 65535"),
    ("M34-zero", 'ports: ["0:80"]', 7, "is not a port"),
    ("M34-number", "ports: [80]", 7, '80 is not a port; write "8080:80" or "53:53/udp"'),
    ("M35-address", "ports: [127.0.0.1:80:80]", 7, "is not a port"),
    ("M35-ipv6", "ports: ['::80:80']", 7, "is not a port"),
    ("M37-mount", "volumes: [/:/host]", 7, "spec.volumes: unknown field"),
    ("M38-privileged", "privileged: true", 7, "unknown field"),
    ("M38-host", "network: host", 7, "unknown field"),
    ("M38-cap", "cap_add: [ALL]", 7, "unknown field"),
    ("M40-typo", "memroy: 1Gi", 7, "spec.memroy: unknown field; did you mean 'memory'?"),
    ("M40-snake", "on_node_failure: wait", 7, "did you mean 'onNodeFailure'?"),
    ("M40-nested", "restart:\n    polizy: never", 8, "restart.polizy: unknown field; did you mean"),
    ("M40-nothing-like-it", "zzz: 1", 7, "unknown field; the fields here are image, type"),
    ("enum", "state: runing", 7, "'runing' is not one of running, stopped; did you mean 'running'"),
    ("enum-number", "state: 1", 7, "1 is not one of running, stopped"),
    ("enum-list", "state: [running]", 7, "must be one of running, stopped, not a list"),
    ("list", "command: sleep", 7, "spec.command: expected a list, got text"),
    ("object", "env: [A]", 7, "expected an object with fields, got a list"),
    ("long-list", "command: [" + "a," * 257 + "]", 7, "has 257 items; at most 256"),
    ("list-for-scalar", "memory: [1]", 7, "expected text, got a list; write 256Mi or 2Gi"),
    ("mixed-list", "ports: [{}, 1, 1, '1:1']", 7, "spec.ports[0]: expected text, got an object"),
    ("libvirt-cpus", "type: libvirt\n  cpus: 1.5", 8, "whole processors; write 2"),
    ("libvirt-env", "type: libvirt\n  env: {A: x}", 8, "docker only; this is a libvirt machine"),
    ("libvirt-command", "type: libvirt\n  command: [a]", 8, "docker only"),
    ("libvirt-memory", "type: libvirt\n  memory: 31Mi", 8, "31Mi is too little for a libvirt"),
]


@pytest.mark.parametrize(
    ("field", "line", "message"), [case[1:] for case in FIELDS], ids=[case[0] for case in FIELDS]
)
def test_a_wrong_field_of_a_machine_is_refused(field: str, line: int, message: str) -> None:
    assert problems_of(MACHINE) == []
    assert_says(problems_of(f"{MACHINE}  {field}\n"), line, message)


DOCUMENTS = [
    (
        "M32-value",
        MACHINE.replace("web", "web\n  labels: {a: " + "x" * 65536 + "}"),
        5,
        "has 65536",
    ),
    ("M32-ours", MACHINE.replace("web", "web\n  labels: {iaas.uid: x}"), 5, "is reserved"),
    ("M32-key", MACHINE.replace("web", "web\n  labels: {a b: x}"), 5, "cannot be a name here"),
    ("M32-number", MACHINE.replace("web", "web\n  labels: {a: 1}"), 5, "expected text"),
    ("M38-on-top", MACHINE + "privileged: true\n", 7, "privileged: unknown field"),
    ("M41-kind", MACHINE.replace("Machine", "Machin"), 2, "did you mean 'Machine'?"),
    ("M41-kind-case", MACHINE.replace("Machine", "machine"), 2, "did you mean 'Machine'?"),
    ("M41-kind-list", MACHINE.replace("Machine", "[a]"), 2, "is not one of Node, Image"),
    ("M41-no-kind", MACHINE.replace("kind: Machine", "#"), 1, "kind: missing; write one of Node"),
    ("M41-version", MACHINE.replace("v1", "v2"), 1, "'iaas/v2' is not known"),
    ("M41-no-version", MACHINE.replace("apiVersion: iaas/v1", "#"), 2, "apiVersion: missing"),
    ("M41-both", "kind: X\napiVersion: Z\n", 2, "'Z' is not known; write apiVersion: iaas/v1"),
    ("M43-reference", MACHINE.replace("nginx", "docker.io/x:latest"), 6, "is not a name"),
    ("no-name", MACHINE.replace("name: web", "labels: {}"), 3, "metadata.name: missing"),
    ("no-spec", MACHINE.partition("spec")[0], 1, "spec: missing"),
    ("no-image", MACHINE.replace("image: nginx", "cpus: 1"), 5, "spec.image: missing"),
    ("spec-list", MACHINE.partition("  image")[0] + "- a\n", 6, "spec: expected an object"),
    ("null", MACHINE.replace("nginx", ""), 6, "spec.image: has no value"),
]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [case[1:] for case in DOCUMENTS],
    ids=[case[0] for case in DOCUMENTS],
)
def test_a_wrong_document_is_refused(text: str, line: int, message: str) -> None:
    assert_says(problems_of(text), line, message)


OTHERS: list[tuple[str, str, Any, str]] = [
    ("address", "Node", {"address": "node1"}, "'node1' is not an address; write host:port"),
    ("N-option", "Node", {"address": "-oProxyCommand=x:1"}, "is not an address"),
    ("N-template", "Node", {"address": "{{ x }}:1"}, "is not an address"),
    ("N-port", "Node", {"address": "a:70000"}, "is not an address"),
    ("N-line-end", "Node", {"address": "a:1\n"}, "is not an address"),
    ("capacity", "Node", {"address": "a:1", "capacity": {"cpus": "x"}}, "number of processors"),
    ("no-address", "Node", {}, "missing; write address: 127.0.0.1:7701"),
    ("no-type", "Image", {}, "missing; write type: docker or libvirt"),
    ("format", "Image", {"type": "docker", "format": "qcow2"}, "do not start from qcow2"),
    ("format-2", "Image", {"type": "libvirt", "format": "docker-archive"}, "qcow2 or raw"),
    ("sha256", "Image", {"type": "docker", "sha256": "ab"}, "64 hexadecimal digits"),
    ("file-nul", "Image", {"type": "docker", "file": "a\0"}, "is not valid"),
    ("file-empty", "Image", {"type": "docker", "file": ""}, "has 0 characters; at least 1"),
]


@pytest.mark.parametrize(
    ("kind", "spec", "message"), [case[1:] for case in OTHERS], ids=[case[0] for case in OTHERS]
)
def test_a_wrong_field_of_another_kind_is_refused(kind: str, spec: Any, message: str) -> None:
    (fault,) = validate(document(kind, spec))
    assert message in f"{fault.message}; {fault.hint}"


def test_five_mistakes_are_five_problems_at_their_lines() -> None:
    text = """\
apiVersion: iaas/v1
kind: Machine
metadata: {name: Web_1}
spec:
  image: nginx
  memroy: 256Mi
  cpus: 1e3
  ports: ["8080:80", 22:22]
  state: stoped
"""
    assert [str(problem) for problem in problems_of(text)] == [
        "cluster.yaml:3:18: metadata.name: 'Web_1' is not a name; use 1-63 characters a-z, 0-9 "
        "and -, starting with a letter and not ending with -",
        "cluster.yaml:6:3: spec.memroy: unknown field; did you mean 'memory'?",
        "cluster.yaml:7:9: spec.cpus: 1e3 is a number with an exponent in YAML; quote it",
        "cluster.yaml:8:22: spec.ports[1]: 22:22 is a number in base 60 in YAML; quote it",
        "cluster.yaml:9:10: spec.state: 'stoped' is not one of running, stopped; "
        "did you mean 'stopped'?",
    ]


def test_m52_the_last_of_many_documents_is_refused_with_its_line() -> None:
    texts = [MACHINE.replace("web", f"web-{n}") for n in range(500)]
    documents, problems = load_text("---\n".join([*texts, MACHINE + "  cpus: 0\n"]), "f")
    assert problems == []
    (problem,) = validate_documents(documents)
    assert problem.line == 500 * 7 + 7


@pytest.mark.parametrize("data", [None, 1, "x", [], [{}], True])
def test_m50_what_is_no_object_is_refused(data: Any) -> None:
    (fault,) = validate(data)
    assert fault.path == ()
    assert "expected an object" in fault.message


def test_a_mistake_in_one_field_does_not_hide_the_checks_of_others() -> None:
    faults = validate(machine(type="libvirt", env={"A": "x"}, memory="1", ports=["1:1", "1:2"]))
    assert [fault.path for fault in faults] == [
        ("spec", "memory"),
        ("spec", "ports", 1),
        ("spec", "env"),
    ]


def test_a_secret_is_not_repeated() -> None:
    for env in ({"A": "hush\n"}, {"A": ["hush"]}, {"A": "hush" * 10_000}):
        (fault,) = validate(machine(env=env))
        assert "hush" not in str(fault)


def test_a_fault_quotes_little_of_a_long_value() -> None:
    for spec in (
        machine(memory="x" * 10**6),
        machine(state="x" * 10**6),
        machine(image="X" * 10**6),
    ):
        (fault,) = validate(spec)
        assert len(fault.message) < 300


def test_no_more_faults_are_said_than_are_read() -> None:
    assert len(validate(machine(**{f"field{n}": n for n in range(20_000)}))) == 100


def test_a_lone_surrogate_from_json_is_refused() -> None:
    assert validate(machine(env={"A": "\ud800"}))
    assert validate(document("Machine", {"image": "a"}, labels={"a": "\ud800"}))


def of(kind: str, name: str, **spec: Any) -> Manifest:
    return manifest_from(document(kind, spec, name))


def set_faults(*manifests: Manifest) -> list[tuple[int, str]]:
    return [(index, fault.message) for index, fault in check_set(manifests)]


def test_an_object_declared_twice_is_refused() -> None:
    assert set_faults(of("Machine", "a", image="i"), of("Machine", "a", image="j")) == [
        (1, "Machine 'a' is declared twice")
    ]
    assert set_faults(of("Machine", "a", image="i"), of("Node", "a", address="a:1")) == []


def test_two_machines_on_one_node_with_one_port_are_refused() -> None:
    first = of("Machine", "a", image="i", node="n", ports=["80:1"])
    assert set_faults(first, of("Machine", "b", image="i", node="n", ports=["1:1", "80:2"])) == [
        (1, "node port 80/tcp of node 'n' is already used by machine 'a'")
    ]
    for other in ({"node": "m"}, {}, {"node": "n", "ports": ["80:1/udp"]}):
        second = of("Machine", "b", **{"image": "i", "ports": ["80:1"]} | other)
        assert set_faults(first, second) == []


def test_a_machine_against_the_type_of_its_image_is_refused() -> None:
    image = of("Image", "i", type="libvirt")
    assert set_faults(of("Machine", "a", image="i", type="docker"), image) == [
        (0, "a docker machine cannot start from image 'i' for libvirt")
    ]
    assert set_faults(image, of("Machine", "a", image="i", env={"A": "x"}, cpus=0.5)) == [
        (1, "a libvirt machine has whole processors (by its image 'i')"),
        (1, "docker only; this is a libvirt machine (by its image 'i')"),
    ]
    assert set_faults(image, of("Machine", "a", image="i", cpus=2)) == []
    assert set_faults(image, of("Machine", "a", image="other", cpus=0.5)) == []


def test_a_collision_names_both_places() -> None:
    problems = problems_of(MACHINE + "---\n" + MACHINE)
    assert [str(problem) for problem in problems] == [
        "cluster.yaml:11:9: metadata.name: Machine 'web' is declared twice (see cluster.yaml:4); "
        "remove one, or give it another name"
    ]


def test_a_set_as_the_api_gets_it() -> None:
    manifests, faults = parse_set([machine(), machine()])
    assert len(manifests) == 2
    assert [(index, fault.first) for index, fault in faults] == [(1, 0)]
    manifests, faults = parse_set([machine(cpus=0), machine(), machine(memory="1")])
    assert [(index, fault.path) for index, fault in faults] == [
        (0, ("spec", "cpus")),
        (2, ("spec", "memory")),
    ]


def test_a_fault_survives_the_wire() -> None:
    for fault in (
        Fault(("spec", "ports", 0), "bad", "mend it"),
        Fault(("spec", "x"), "unknown field", key=True),
        Fault((), "bad", first=3),
    ):
        assert Fault.from_json(fault.to_json(7)) == (7, fault)


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("memroy", "did you mean 'memory'?"),
        ("MEMORY", "did you mean 'memory'?"),
        ("on_node_failure", "did you mean 'onNodeFailure'?"),
        ("zzz", ""),
        ("memory" * 10**6, ""),
        ("", ""),
    ],
    ids=["letters", "case", "snake", "none", "long", "empty"],
)
def test_did_you_mean(word: str, answer: str) -> None:
    assert did_you_mean(word, ["memory", "cpus", "onNodeFailure"]) == answer


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=10,
)
SPEC_FIELDS = st.sampled_from(
    [
        "image",
        "type",
        "memory",
        "cpus",
        "ports",
        "env",
        "command",
        "restart",
        "x",
        "file",
        "address",
    ]
)


@patient
@given(JSON)
def test_no_data_raises(data: Any) -> None:
    assert validate(data)


@patient
@given(st.sampled_from(sorted(KINDS)), st.dictionaries(SPEC_FIELDS, JSON), JSON)
def test_no_spec_raises(kind: str, spec: Any, labels: Any) -> None:
    validate(document(kind, spec, labels=labels))
    validate(document(kind, {"image": "a", "type": "docker", "address": "a:1"} | spec))


NAME = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True).map(Name)
PORT_NUMBER = st.integers(1, 65535)
PORTS = st.lists(
    st.builds(Port, PORT_NUMBER, PORT_NUMBER, st.sampled_from(Protocol)),
    max_size=4,
    unique_by=lambda port: (port.node, port.protocol),
).map(tuple)
TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=9
)
MEMORY = st.integers(32, Memory.LARGEST).map(Memory)
DOCKER = st.builds(
    MachineSpec,
    image=NAME,
    type=st.sampled_from([None, MachineType.DOCKER]),
    memory=MEMORY,
    cpus=st.integers(10, 1024_000).map(Cpus),
    state=st.sampled_from(PowerState),
    node=st.none() | NAME,
    ports=PORTS,
    env=st.dictionaries(st.from_regex("[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True), TEXT),
    command=st.lists(TEXT, max_size=3).map(tuple),
    restart=st.builds(Restart, policy=st.sampled_from(RestartPolicy)),
    on_node_failure=st.none() | st.sampled_from(OnNodeFailure),
)
LIBVIRT = st.builds(
    MachineSpec,
    image=NAME,
    type=st.just(MachineType.LIBVIRT),
    memory=MEMORY,
    cpus=st.integers(1, 1024).map(lambda whole: Cpus(whole * 1000)),
    ports=PORTS,
)
IMAGE = st.sampled_from(MachineType).flatmap(
    lambda type_: st.builds(
        ImageSpec,
        type=st.just(type_),
        format=st.none() | st.sampled_from([it for it in FORMATS[type_] if it != "registry"]),
        file=st.none() | TEXT.filter(bool),
        sha256=st.none() | st.from_regex("[0-9a-f]{64}", fullmatch=True).map(Sha256),
    )
)
NODE = st.builds(
    NodeSpec,
    address=st.builds(lambda name, port: Address(f"{name}:{port}"), NAME, PORT_NUMBER),
    capacity=st.builds(
        Capacity,
        cpus=st.none() | st.integers(10, 1024_000).map(Cpus),
        memory=st.none() | MEMORY,
    ),
)
LABELS = st.dictionaries(st.from_regex("[a-z]{1,5}(/[a-z.]{0,5}[a-z])?", fullmatch=True), TEXT)
LABELS = LABELS.filter(lambda labels: not any(key.startswith(("iaas/", "iaas.")) for key in labels))
MANIFESTS = st.one_of(
    st.builds(Manifest, kind=st.just(kind), name=NAME, spec=spec, labels=LABELS)
    for kind, spec in (("Machine", DOCKER), ("Machine", LIBVIRT), ("Image", IMAGE), ("Node", NODE))
)


@patient
@given(MANIFESTS)
def test_a_manifest_survives_being_written_and_read(manifest: Manifest) -> None:
    data = document_of(manifest)
    assert validate(data) == ()
    assert manifest_from(data) == manifest


@patient
@given(MANIFESTS)
def test_a_manifest_survives_yaml(manifest: Manifest) -> None:
    parsed, problems = read(json.dumps(document_of(manifest)), "f")
    assert problems == []
    assert manifest_from(parsed[0].data) == manifest
