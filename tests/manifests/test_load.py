"""Files, directories and standard input become documents, or problems; never a traceback."""

import gc
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from manifests import files
from manifests.guard import Limits
from manifests.load import Loaded, load_paths, load_text, steps_of
from tests.manifests.making import EXAMPLES, MACHINE

SMALL = Limits(size=1000)


def said(loaded: Loaded) -> list[str]:
    return [str(problem) for problem in loaded.problems]


def write(path: Path, text: str = MACHINE) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_a_directory_is_read_in_order_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "sub/c.json", ".hidden.yaml", ".git/x.yaml", "readme.md"):
        write(
            tmp_path / name, f"name: {Path(name).stem}\n" if "json" not in name else '{"name": "c"}'
        )
    loaded = load_paths([str(tmp_path)])
    assert said(loaded) == []
    assert [document.data["name"] for document in loaded.documents] == ["a", "b", "c"]
    assert [document.index for document in loaded.documents] == [0, 1, 2]
    assert loaded.documents[2].file == str(tmp_path / "sub/c.json")


def test_a_directory_beside_a_file_of_the_same_name_is_no_trouble(tmp_path: Path) -> None:
    write(tmp_path / "x.yaml" / "y.yaml", "a: 1")
    assert len(load_paths([str(tmp_path)]).documents) == 1


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(load_paths([str(tmp_path)]).documents) == 1


def test_standard_input_is_read_once() -> None:
    stdin = io.BytesIO(b"a: 1\n---\nb: no\n")
    loaded = load_paths(["-", "-"], stdin=stdin)
    assert [document.file for document in loaded.documents] == ["<stdin>", "<stdin>"]
    assert said(loaded) == [
        "<stdin>:3:4: b: 'no' means false in YAML; quote it: \"no\", or write false"
    ]


def test_json_and_yaml_give_the_same_documents(tmp_path: Path) -> None:
    for example in EXAMPLES:
        ours = load_paths([str(example)])
        assert said(ours) == []
        for document in ours.documents:
            text = json.dumps(document.data, indent="\t")
            path = write(tmp_path / "x.json", text)
            again = load_paths([path])
            assert said(again) == []
            assert [item.data for item in again.documents] == [document.data]


def test_documents_are_those_of_pyyaml() -> None:
    for example in EXAMPLES:
        expected = list(yaml.safe_load_all(example.read_text()))
        assert [item.data for item in load_paths([str(example)]).documents] == expected


def test_all_files_are_complained_of_at_once(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.yaml", "a: [")
    good = write(tmp_path / "good.yaml")
    loaded = load_paths([bad, str(tmp_path / "none.yaml"), good])
    assert [problem.file for problem in loaded.problems] == [bad, str(tmp_path / "none.yaml")]
    assert len(loaded.documents) == 1
    assert said(loaded)[1].endswith("none.yaml:1:1: cannot be read: No such file or directory")


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n---\n", "\ufeff", "\n\n"])
def test_m50_a_file_without_documents_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "empty.yaml", text)
    assert said(load_paths([path])) == [f"{path}:1:1: no documents in this file"]


def test_a_directory_without_manifests_is_refused(tmp_path: Path) -> None:
    (problem,) = load_paths([str(tmp_path)]).problems
    assert str(problem).startswith(f"{tmp_path}:1:1: no documents in this directory")


def test_no_paths_are_refused() -> None:
    assert "no documents" in said(load_paths([]))[0]


def test_c119_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "is not a regular file" in said(load_paths([str(tmp_path / "pipe.yaml")]))[0]
    assert "is not a regular file" in said(load_paths([str(tmp_path)]))[0]


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/tty", "/proc/self/mem"])
def test_c119_a_device_is_refused(path: str) -> None:
    assert len(load_paths([path], limits=SMALL).problems) == 1


def test_c119_a_file_that_lies_about_its_size_is_read_no_further_than_the_limit() -> None:
    assert os.stat("/proc/kallsyms").st_size == 0
    with pytest.raises(files.FileError, match="is larger than"):
        files.read_file("/proc/kallsyms", 1000)


def test_c119_a_file_of_ten_gigabytes_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "big.yaml", "wb") as file:
        file.truncate(10 * 2**30)
    assert "is larger than 16 MiB" in said(load_paths([str(tmp_path / "big.yaml")]))[0]


def test_c119_endless_standard_input_is_refused() -> None:
    with open("/dev/zero", "rb") as zero:
        assert (
            "<stdin>:1:1: is larger than 1 MiB"
            in said(load_paths(["-"], stdin=zero, limits=SMALL))[0]
        )


def test_a_closed_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert said(load_paths(["-"])) == ["<stdin>:1:1: is closed"]


@pytest.mark.parametrize(
    ("path", "message"),
    [("a\0b", "is not a file name"), ("x" * 5000, "File name too long"), ("", "No such file")],
)
def test_a_path_that_is_none_is_refused(path: str, message: str) -> None:
    (problem,) = load_paths([path]).problems
    assert message in str(problem)
    assert "\0" not in str(problem)


def test_file_names_are_made_fit_for_a_terminal(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/a\x1b[31m\xff\n.yaml"
    with open(name, "wb") as file:
        file.write(b"a: [")
    (problem,) = load_paths([str(tmp_path)]).problems
    assert str(problem).isprintable()
    str(problem).encode()


def test_an_unreadable_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> int:  # root, who runs these tests, may read everything
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path / "x.yaml")
    monkeypatch.setattr(files.os, "open", refuse)
    assert said(load_paths([path])) == [f"{path}:1:1: cannot be read: Permission denied"]


def test_m11_documents_of_all_files_count_together(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "a: 1\n---\nb: 1\n")
    write(tmp_path / "b.yaml", "a: 1\n---\nb: 1\n")
    assert said(load_paths([str(tmp_path)], limits=Limits(documents=4))) == []
    loaded = load_paths([str(tmp_path)], limits=Limits(documents=3))
    assert "more than 3 documents" in said(loaded)[-1]
    assert loaded.documents == ()


def test_a_directory_of_too_many_files_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 2)
    for name in "abc":
        write(tmp_path / f"{name}.yaml", "a: 1")
    assert "holds more than 2 manifest files" in said(load_paths([str(tmp_path)]))[0]


def test_a_problem_knows_the_place_of_its_field() -> None:
    ((document,), _) = load_text("# c\n" + MACHINE + '  ports: ["1:1",\n    "2:2"]\n', "f.yaml")
    assert str(document.problem("spec.ports[1]", "bad", "mend it")) == (
        "f.yaml:9:5: spec.ports[1]: bad; mend it"
    )
    assert str(document.problem(("spec", "image"), "bad")) == "f.yaml:7:10: spec.image: bad"
    assert str(document.problem("spec.image", "unknown field")).startswith("f.yaml:7:3: ")
    assert str(document.problem(("spec", "image"), "bad", key=True)).startswith("f.yaml:7:3: ")
    assert str(document.problem("spec.memory", "missing")).startswith("f.yaml:6:1: spec.memory: ")
    assert str(document.problem((), "bad")) == "f.yaml:2:1: bad"


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("", ()),
        ("a", ("a",)),
        ("a.b.c", ("a", "b.c")),
        ("a.b.c.d", ("a", "b.c", "d")),
        ("a.l[1][0].x", ("a", "l", 1, 0, "x")),
        ("a.l[7].x", ("a", "l", 7, "x")),
        ("new.field[0]", ("new", "field", 0)),
        ("a.[x", ("a", "[x")),
    ],
)
def test_a_dotted_path_is_split_by_the_data(path: str, steps: tuple[str | int, ...]) -> None:
    assert steps_of(path, {"a": {"b.c": {}, "b": {}, "l": [1, [{"x": 1}]]}}) == steps


def test_reading_needs_no_jsonschema() -> None:
    script = "import sys, manifests.load; sys.exit('jsonschema' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("text", ["a: 1", "a: [", b"\xff"])
def test_reading_leaves_the_garbage_collector_as_it_was(text: str | bytes) -> None:
    load_text(text, "f")
    assert gc.isenabled()
    gc.disable()
    try:
        load_text(text, "f")
        assert not gc.isenabled()
    finally:
        gc.enable()
