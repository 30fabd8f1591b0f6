"""iaasctl apply, plan, delete: what is sent, what is shown, which exit code."""

import hashlib
import io
from pathlib import Path

import pytest

from tests.iaasctl.conftest import Run
from tests.iaasctl.scripted import Server, line, machine

IMAGE = """\
apiVersion: iaas/v1
kind: Image
metadata: {name: web}
spec: {type: docker, file: images/web.tar%s}
"""
CHANGE = {
    "field": "image",
    "old": "web",
    "new": "web2",
    "effect": "replace",
    "why": "a container's image is fixed when it is created",
}


def test_the_plan_says_what_why_and_with_which_effect(
    server: Server, run: Run, manifest: Path
) -> None:
    server.lines = [
        line("create", "Machine", "web1"),
        line("replace", "Machine", "web2", "image changed", changes=[CHANGE]),
        line("create", "Node", "n1"),
        line("delete", "Machine", "old", "no longer in set:cluster"),
    ]
    ran = run("plan", "-f", str(manifest))
    assert ran.out == (
        "+ create machine web1\n"
        "± replace machine web2: image changed\n"
        "    image  web -> web2  (replace: a container's image is fixed when it is created)\n"
        "+ create node n1\n"
        "- delete machine old: no longer in set:cluster\n"
        "2 to create, 1 to replace, 1 to delete\n"
    )
    assert (ran.code, ran.err) == (2, "")
    assert server.requests[0][2] == {"dryRun": "true"}


def test_no_changes_is_exit_0(run: Run, manifest: Path) -> None:
    assert run("plan", "-f", str(manifest)).out == "no changes\n"
    assert run("diff", "-f", str(manifest)).code == 0


def test_errors_of_plan_are_exit_1_since_2_means_changes(
    run: Run, server: Server, tmp_path: Path
) -> None:
    assert run("plan", "-f", str(tmp_path / "none.yaml")).code == 1
    assert run("diff", "--nope").code == 1


def test_the_set_is_named_after_the_first_file(
    run: Run, server: Server, manifest: Path, tmp_path: Path
) -> None:
    run("apply", "-f", str(manifest))
    assert server.posted[-1]["source"] == "set:cluster"
    other = tmp_path / "2 My_Set.v1.yaml"
    other.write_text(manifest.read_text())
    run("apply", "-f", str(other), "-f", str(manifest), "--no-prune", "--approve")
    body = server.posted[-1]
    assert (body["source"], body["prune"], body["approve"]) == ("set:my-set-v1", False, True)
    assert len(body["documents"]) == 2
    run("apply", "-f", str(other), "--set", "shop")
    assert server.posted[-1]["source"] == "set:shop"
    assert run("apply", "-f", str(manifest), "--set", "No!").code == 2


def test_manifests_come_from_standard_input(
    run: Run, server: Server, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(manifest.read_bytes())))
    assert run("apply", "-f", "-").code == 2  # no file, so no name for the set
    assert run("apply", "-f", "-", "--set", "piped").code == 0
    assert server.posted[0]["source"] == "set:piped"


def test_a_dry_run_changes_nothing_and_is_exit_0(run: Run, server: Server, manifest: Path) -> None:
    server.lines = [line("create", "Machine", "web1")]
    assert run("apply", "-f", str(manifest), "--dry-run").code == 0
    assert server.requests[-1][2] == {"dryRun": "true"}


def test_all_problems_are_reported_at_their_places_and_nothing_is_sent(
    run: Run, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(
        "apiVersion: iaas/v1\nkind: Machine\nmetadata: {name: no}\nspec: {image: 3}\n"
    )
    (tmp_path / "b.yaml").write_text(IMAGE % "")
    ran = run("apply", "-f", str(tmp_path))
    assert (ran.code, server.requests) == (2, [])
    lines = ran.err.splitlines()
    assert lines[0].startswith(f"{tmp_path}/a.yaml:3:18: ")
    assert lines[1].startswith(f"{tmp_path}/a.yaml:4:")
    assert lines[2].startswith(
        f"{tmp_path}/b.yaml:4:28: spec.file: cannot read {tmp_path}/images/web.tar"
    )
    assert "nothing was changed" in lines[-2]


def test_faults_of_the_server_are_shown_at_their_places(
    run: Run, server: Server, manifest: Path
) -> None:
    faults = [
        {"index": 0, "path": ["spec", "image"], "message": "no such image", "hint": "add it"},
        {"index": 9, "path": [], "message": "elsewhere", "hint": ""},
        "nonsense",
    ]
    server.fail["/iaas/apply"] = (
        422,
        {"error": "invalid", "message": "not valid", "faults": faults},
    )
    ran = run("apply", "-f", str(manifest))
    assert f"{manifest}:4:15: spec.image: no such image; add it\n" in ran.err
    assert "elsewhere\n" in ran.err
    assert "error: 2 problems in the manifests" in ran.err
    assert ran.code == 2


@pytest.mark.parametrize(
    ("status", "error", "code", "words"),
    [
        (409, {"error": "braked", "message": "9 of 10 would stop"}, 5, ("9 of 10", "--approve")),
        (401, {"error": "unauthorised", "message": "no token"}, 6, ("no token", "token-file")),
        (500, {"error": "internal", "message": "id 3f"}, 1, ("id 3f", "log of iaas-reconciler")),
        (503, {"error": "starting", "message": "reading the store"}, 7, ("reading the store",)),
        (
            409,
            {
                "error": "conflict",
                "message": "1 conflict",
                "conflicts": [{"message": "web1 belongs to api"}],
            },
            5,
            ("a conflict; nothing", "why:  web1 belongs to api"),
        ),
    ],
)
def test_refusals(
    run: Run,
    server: Server,
    manifest: Path,
    status: int,
    error: object,
    code: int,
    words: tuple[str, ...],
) -> None:
    server.fail["/iaas/apply"] = (status, error)
    ran = run("apply", "-f", str(manifest))
    assert (ran.code, ran.out) == (code, "")
    assert all(word in ran.err for word in words)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/web.tar").write_bytes(b"bytes")
    path = tmp_path / "image.yaml"
    path.write_text(IMAGE % "")
    return path


DIGEST = hashlib.sha256(b"bytes").hexdigest()


def test_an_image_file_is_uploaded_once_and_its_digest_filled_in(
    run: Run, server: Server, image: Path
) -> None:
    for _ in range(2):
        assert run("apply", "-f", str(image)).code == 0
    assert [method for method, *_ in server.requests] == ["HEAD", "PUT", "POST", "HEAD", "POST"]
    assert server.blobs == {DIGEST: b"bytes"}
    assert server.posted[0]["documents"][0]["spec"] == {
        "type": "docker",
        "file": "images/web.tar",
        "sha256": DIGEST,
    }


def test_a_plan_uploads_too_since_the_server_checks_the_bytes(
    run: Run, server: Server, image: Path
) -> None:
    run("plan", "-f", str(image))
    assert [method for method, *_ in server.requests] == ["HEAD", "PUT", "POST"]
    assert server.requests[-1][2] == {"dryRun": "true"}


def test_a_plan_tells_that_it_would_need_approval(run: Run, server: Server, manifest: Path) -> None:
    server.fail["/iaas/apply"] = (200, {"revision": 1, "lines": [], "brake": "9 of 10 would stop"})
    assert "it would need --approve: 9 of 10 would stop" in run("plan", "-f", str(manifest)).out


def test_deleting_what_is_not_there_is_exit_4(run: Run, server: Server) -> None:
    conflict = {"kind": "Machine", "name": "x", "message": "there is no machine 'x'"}
    server.fail["/iaas/delete"] = (
        409,
        {"error": "conflict", "message": "m", "conflicts": [conflict]},
    )
    ran = run("delete", "vm", "x")
    assert (ran.code, "why:  there is no machine 'x'" in ran.err) == (4, True)


def test_another_digest_than_promised_is_a_problem_at_its_place(
    run: Run, server: Server, image: Path
) -> None:
    image.write_text(IMAGE % f", sha256: {'f' * 64}")
    ran = run("apply", "-f", str(image))
    assert (
        f"image.yaml:4:52: spec.sha256: {image.parent}/images/web.tar has another digest: {DIGEST}"
        in ran.err
    )
    assert (ran.code, server.requests) == (2, [])


def test_an_invalid_set_uploads_nothing(run: Run, server: Server, image: Path) -> None:
    image.write_text((IMAGE % "") + "---\nkind: Nonsense\n")
    assert run("apply", "-f", str(image)).code == 2
    assert "PUT" not in [method for method, *_ in server.requests]


@pytest.mark.parametrize("name", ["/dev/zero", "..", "a\\0b"])
def test_what_is_no_file_is_no_image(run: Run, server: Server, image: Path, name: str) -> None:
    image.write_text((IMAGE % "").replace("images/web.tar", f'"{name}"'))
    assert run("apply", "-f", str(image)).code == 2
    assert server.requests == []


def test_delete_by_name(run: Run, server: Server) -> None:
    server.lines = [line("delete", "Machine", "web1", "asked for")]
    ran = run("delete", "vm", "web1", "web2", "web1")
    assert server.posted[0]["objects"] == [
        {"kind": "Machine", "name": "web1"},
        {"kind": "Machine", "name": "web2"},
    ]
    assert ran.out == "- delete machine web1: asked for\n1 to delete\n"
    assert run("delete", "machine/web1", "node/n1").code == 2
    assert run("delete", "vm").code == 2
    assert run("delete").code == 2


def test_delete_what_manifests_name_in_one_request(
    run: Run, server: Server, manifest: Path
) -> None:
    assert run("delete", "-f", str(manifest), "--approve").code == 0
    assert server.posted == [{"objects": [{"kind": "Machine", "name": "web1"}], "approve": True}]
    manifest.write_text("kind: Machine\nmetadata: {}\n")
    assert run("delete", "-f", str(manifest)).code == 2


def test_delete_can_ignore_what_is_gone(run: Run, server: Server, manifest: Path) -> None:
    ran = run("delete", "-f", str(manifest), "--ignore-not-found")
    assert (ran.code, ran.err, server.posted) == (0, "nothing to delete\n", [])
    server.lists["machines"] = [machine("web1")]
    run("delete", "-f", str(manifest), "--ignore-not-found")
    assert len(server.posted) == 1
