"""Which server, which token, and where a token must not go."""

from pathlib import Path

import pytest

from iaasctl import settings as module
from iaasctl.errors import Invalid, Unauthorised
from iaasctl.settings import parse_server, settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("IAAS_SERVER", raising=False)
    monkeypatch.delenv("IAAS_TOKEN_FILE", raising=False)
    monkeypatch.setattr(module, "DEFAULT_TOKEN_FILE", str(tmp_path / "default"))


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("secret\n")
    path.chmod(0o600)
    return path


def test_flag_before_environment_before_default(
    monkeypatch: pytest.MonkeyPatch, token: Path
) -> None:
    assert str(settings().endpoint) == "http://127.0.0.1:7700"
    assert settings().token == ""
    monkeypatch.setenv("IAAS_SERVER", "http://localhost:1")
    monkeypatch.setenv("IAAS_TOKEN_FILE", str(token))
    assert (str(settings().endpoint), settings().token) == ("http://localhost:1", "secret")
    assert settings(server="http://[::1]:2").endpoint.port == 2
    assert str(settings(server="https://iaas.example").endpoint) == "https://iaas.example:443"


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1", "http://127.0.0.1.evil.example", "http://localhost.evil:7700"]
)
def test_a_token_goes_unencrypted_to_loopback_only(token: Path, url: str) -> None:
    with pytest.raises(Invalid, match="refusing to send the token"):
        settings(url, str(token))


@pytest.mark.parametrize(
    "url",
    [
        "7700",
        "ftp://x",
        "http://",
        "http://a:b@c",
        "http://x/path",
        "http://x:99999",
        "http://bücher",
    ],
)
def test_what_is_no_server(url: str) -> None:
    with pytest.raises(Invalid):
        parse_server(url)


def test_a_token_file_that_others_may_read_is_refused(token: Path) -> None:
    token.chmod(0o640)
    with pytest.raises(Unauthorised, match="can be read by other users") as caught:
        settings(token_file=str(token))
    assert caught.value.fix == f"chmod 600 {token}"


@pytest.mark.parametrize("text", ["", "two words", "é", "x" * 5000, "a\nb"])
def test_what_is_no_token_is_refused(token: Path, text: str) -> None:
    token.write_text(text)
    with pytest.raises(Unauthorised):
        settings(token_file=str(token))


@pytest.mark.parametrize("path", ["/dev/zero", "/nonexistent", "/"])
def test_what_is_no_token_file_is_refused(path: str) -> None:
    with pytest.raises(Unauthorised):
        settings(token_file=path)
