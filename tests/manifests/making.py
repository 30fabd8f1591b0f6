"""Manifests to break, and what reading and checking them says. Not here: any test."""

import time
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from manifests.load import load_text
from manifests.problem import Problem
from manifests.validate import validate_documents

FILE = "cluster.yaml"
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("*.yaml"))

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For properties: a busy test machine is no reason to fail."""

MACHINE = """\
apiVersion: iaas/v1
kind: Machine
metadata:
  name: web
spec:
  image: nginx
"""
"""A whole document of six lines; fields of the spec go on from line seven."""


def machine(**spec: Any) -> dict[str, Any]:
    return document("Machine", {"image": "nginx"} | spec)


def document(kind: str, spec: Any, name: Any = "web", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "iaas/v1",
        "kind": kind,
        "metadata": {"name": name} | metadata,
        "spec": spec,
    }


def problems_of(source: str | bytes) -> list[Problem]:
    """All problems of a text, from reading and from checking. Quickly, whatever the text."""
    begin = time.monotonic()
    documents, problems = load_text(source, FILE)
    problems = sorted([*problems, *validate_documents(documents)])
    assert time.monotonic() - begin < 1
    return problems


def assert_says(problems: list[Problem], line: int, message: str) -> None:
    """That one of the problems stands on this line and says this."""
    said = [str(problem) for problem in problems]
    assert any(problem.line == line for problem in problems if message in str(problem)), said
