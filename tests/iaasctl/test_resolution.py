"""Which object a word on the command line means: names, ids, beginnings of ids."""

import pytest

from iaasctl.client import Client
from iaasctl.errors import Failure, Invalid, NotFound
from iaasctl.kinds import MACHINE
from iaasctl.resolution import resolve
from tests.iaasctl.scripted import Server, machine

A, B, C = ("3f2a9c41-0000", "3f2a9c41-1111", "77777777-0000")


@pytest.fixture
def machines(server: Server) -> None:
    server.lists["machines"] = [
        machine("web1", id=A),
        machine("web2", id=B),
        machine("3f2a", "failed", id=C),
        machine("web10", id="abcd0000"),
        machine("twin", id="9999-a"),
        machine("other", id="twin"),
    ]


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("web1", "web1"),  # and not the beginning of web10
        (A, "web1"),
        ("3f2a9c41-1", "web2"),
        ("7777", "3f2a"),
        ("3f2a", "3f2a"),  # a whole name, though two ids begin like that
        ("abcd0000", "web10"),
    ],
)
@pytest.mark.usefixtures("machines")
def test_a_word_names_one(client: Client, word: str, name: str) -> None:
    (found,) = resolve(client, MACHINE, [word])
    assert found["name"] == name


@pytest.mark.parametrize("word", ["web", "777", "", "WEB1", "3f2a9c41-2", "%", "/", "\x1b[2J"])
@pytest.mark.usefixtures("machines")
def test_a_word_names_none(client: Client, word: str) -> None:
    with pytest.raises(NotFound, match="there is no machine"):
        resolve(client, MACHINE, ["web1", word])


@pytest.mark.usefixtures("machines")
def test_too_short_an_id_is_told_so(client: Client) -> None:
    with pytest.raises(Failure) as caught:
        resolve(client, MACHINE, ["777"])
    assert "4 characters" in caught.value.why


@pytest.mark.parametrize(("word", "names"), [("3f2a9c41", ("web1", "web2")), ("twin", ("twin",))])
@pytest.mark.usefixtures("machines")
def test_what_may_be_several_lists_them(client: Client, word: str, names: tuple[str, ...]) -> None:
    """Also one's name that is another's id."""
    with pytest.raises(Invalid, match="may be any of 2 machines") as caught:
        resolve(client, MACHINE, [word])
    assert len(caught.value.why.splitlines()) == 2
    assert all(name in caught.value.why for name in names)


@pytest.mark.usefixtures("machines")
def test_each_is_meant_once(client: Client) -> None:
    found = resolve(client, MACHINE, ["web2", A, B, "web1"])
    assert [item["name"] for item in found] == ["web2", "web1"]


def test_many_candidates_are_not_all_listed(client: Client, server: Server) -> None:
    server.lists["machines"] = [machine(f"m{n}", id=f"aaaa-{n}") for n in range(50)]
    with pytest.raises(Invalid) as caught:
        resolve(client, MACHINE, ["aaaa"])
    assert caught.value.why.splitlines()[-1] == "... and 40 more"
