"""Hostile manifests by both doors: `iaasctl` with the text itself, and the API with JSON."""

from pathlib import Path

import pytest

from iaasctl.main import main
from tests.hostile.manifests import BODIES, TEXTS, Manifest, carried
from tests.hostile.program import MOST_GROWTH, SLOWEST, TALLY, Kept, Program, memory_of, timed
from tests.manifests.making import document
from tests.reconciler.mirror import until

JSON = [(case, body) for case in TEXTS if (body := carried(case))]


@pytest.fixture(scope="module", autouse=True)
def _memory() -> object:
    """iaasctl runs in this process."""
    begun = memory_of()
    yield
    TALLY.growth["iaasctl"] = growth = memory_of() - begun
    assert growth < MOST_GROWTH


@pytest.mark.parametrize("verb", ["plan", "apply"])
@pytest.mark.parametrize("case", TEXTS, ids=lambda case: case.id)
def test_a_text_is_refused_by_iaasctl(
    program: Program,
    before: Kept,
    case: Manifest,
    verb: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_bytes(case.text if isinstance(case.text, bytes) else case.text.encode())
    where = ("--server", program.url, "--token-file", str(program.root / "state/token"))
    code, seconds = timed(lambda: main([*where, verb, "-f", str(path)]))
    TALLY.add("M", f"{case.id}, iaasctl {verb}", seconds)
    said = capfd.readouterr()
    assert code == (1 if verb == "plan" else 2)
    assert said.out == ""
    assert f"{path}:" in said.err
    assert case.word in said.err
    assert case.path in said.err
    assert "Traceback" not in said.err
    assert len(said.err) < 100_000
    assert program.kept() == before
    assert seconds < SLOWEST


@pytest.mark.parametrize(("case", "body"), JSON, ids=[case.id for case, _ in JSON])
def test_its_documents_are_refused_by_the_api(
    program: Program, before: Kept, case: Manifest, body: bytes
) -> None:
    answer = program.ask("POST", "/iaas/apply", body, Content_Type="application/json")
    program.refused("M", f"{case.id}, POST", answer, before, "")
    assert answer.status in (400, 422)
    if answer.status == 422 and case.path:
        assert any(name.startswith(case.path) for name in answer.fields), answer.said


@pytest.mark.parametrize(
    ("status", "body", "word"), [case[1:] for case in BODIES], ids=[case[0] for case in BODIES]
)
def test_what_json_can_do_is_refused_by_the_api(
    program: Program, before: Kept, status: int, body: bytes, word: str
) -> None:
    answer = program.ask("POST", "/iaas/apply", body, Content_Type="application/json")
    program.refused("M", f"{body[:40]!r}", answer, before, word)
    assert answer.status == status


def test_a_machine_for_a_node_that_is_not_there_waits_and_says_so(program: Program) -> None:
    """M46-: of a set it is legal, since the node may come with the next one."""
    image = document("Image", {"type": "docker", "registry": "nginx@sha256:" + "0" * 64}, "pinned")
    machine = document("Machine", {"image": "pinned", "node": "nowhere"}, "stray")
    body = {"source": "set:stray", "documents": [image, machine]}
    assert program.ask("POST", "/iaas/apply", body).status == 200

    def reason() -> str:
        told = program.ask("GET", "/iaas/machines/stray").said
        assert told["state"] == "pending"
        return str(told["reason"])

    until(lambda: "there is no node" in reason())
    gone = {"source": "set:stray", "documents": [], "prune": True, "approve": True}
    assert program.ask("POST", "/iaas/apply", gone).status == 200
    until(lambda: program.ask("GET", "/iaas/machines/stray").status == 404)
    until(lambda: program.ask("GET", "/iaas/images/pinned").status == 404)
