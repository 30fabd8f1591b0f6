"""The bar of an upload: on a terminal only, never wider than it."""

import io

import pytest

from iaasctl import progress
from iaasctl.progress import Lines, Live, Moved, bar

GIB = 1 << 30


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_tells_how_far_and_how_fast() -> None:
    moved = Moved("uploading big.qcow2", GIB, 100.0)
    assert bar(moved, 2 * GIB, 4 * GIB, 110.0) == (
        "[############------------]  50 % of 4 GiB, 102 MiB/s  uploading big.qcow2"
    )
    assert bar(Moved("x", 0, 0.0), 0, 0, 0.0).startswith("[----")
    assert "100 %" in bar(moved, 4 * GIB, 4 * GIB, 100.1)


@pytest.mark.parametrize("columns", [1, 40, 80])
def test_a_bar_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(progress, "_terminal_size", lambda _: (columns, 24))
    terminal = Terminal()
    live = Live(terminal)
    for done in range(0, GIB + 1, GIB // 4):
        live.transfer("uploading /a/long/path\x1b[2J" * 5, done, GIB)
    live.close()
    lines = terminal.getvalue().replace("\x1b[1A\x1b[J", "").splitlines()
    assert lines
    assert all(len(line) <= max(columns - 1, 10) and "\x1b" not in line for line in lines)


def test_little_that_is_quick_is_not_shown() -> None:
    terminal = Terminal()
    Live(terminal).transfer("uploading small", 4096, 4096)
    assert terminal.getvalue() == ""


def test_a_log_gets_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for done in range(0, GIB + 1, GIB // 4):
        lines.transfer("uploading big", done, GIB)
    assert capfd.readouterr().err == "uploading big, 1 GiB\n"
