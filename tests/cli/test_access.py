"""``microtome token``, ``access`` and ``database``: what they do, print and refuse."""

import re
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from microtome_cli.main import main
from microtome_core.names import DatasetId
from microtome_core.store.location import Store
from microtome_service.auth import records
from microtome_service.auth.database import Database
from microtome_service.auth.keys import digest, split
from microtome_service.auth.roles import Role
from microtome_service.auth.rules import SIGNED_IN, Subject

if TYPE_CHECKING:
    from tests.postgres import Cluster


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no variable of the caller name a root or a database."""
    for name in ("MICROTOME_ROOT", "MICROTOME_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def root(tmp_path: Path) -> str:
    """An empty root."""
    (tmp_path / "root").mkdir()
    return str(tmp_path / "root")


@pytest.fixture
def database(root: str) -> Any:  # noqa: ANN401 - closed at the end
    """The database beside the root."""
    with Database(f"sqlite:///{root}.access.sqlite") as made:
        yield made


def test_a_key_is_printed_alone_and_once(
    root: str, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output is the key and nothing else; what it is for goes to standard error."""
    words = ["token", "create", "--root", root, "--name", "ci", "--scope", "write"]
    assert main([*words, "--dataset", "demo/brain", "--expires", "30d"]) == 0
    out = capsys.readouterr()
    key_id, secret = split(out.out.strip()) or ("", "")
    with database.read() as connection:
        key = records.read_keys(connection)[key_id]
    assert (key.name, key.role, key.place) == ("ci", Role.WRITER, "demo/brain")
    assert abs((key.expires or 0) - time() - 30 * 86400) < 60
    assert key.digest == digest(secret)
    assert "writer demo/brain, until" in out.err
    assert secret not in out.err
    assert main(["token", "list", "--root", root]) == 0
    listed = capsys.readouterr().out
    assert re.search(rf"mt_{key_id}  write   demo/brain .* never +ci", listed)
    assert secret not in listed
    assert key.digest not in listed


@pytest.mark.parametrize("shown", ["{id}", "mt_{id}", "mt_{id}_and-its-secret"])
def test_a_key_is_revoked_by_its_id(
    root: str, database: Database, capsys: pytest.CaptureFixture[str], shown: str
) -> None:
    """With or without what stands before and after; a second time there is none."""
    assert main(["token", "create", "--root", root, "--name", "ci", "--scope", "read"]) == 0
    key_id, _ = split(capsys.readouterr().out.strip()) or ("", "")
    assert main(["token", "revoke", "--root", root, shown.format(id=key_id)]) == 0
    with database.read() as connection:
        assert records.read_keys(connection) == {}
    assert "revoked" in capsys.readouterr().out
    assert main(["token", "revoke", "--root", root, key_id]) == 2
    assert main(["token", "list", "--root", root]) == 0
    assert "revoked" in capsys.readouterr().out


def test_visibility_and_grants_are_set_listed_and_taken_back(
    root: str, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is said of places and people is what the service will read."""
    for words in (
        ["set", "demo", "private"],
        ["set", "demo/brain", "public"],
        ["grant", "demo", "reader", "--group", "lab"],
        ["grant", "demo/brain", "writer", "--user", "alice@lab.example"],
        ["grant", "*", "admin", "--user", "ada"],
        ["grant", "demo", "reader", "--authenticated"],
        ["revoke", "demo", "--authenticated"],
    ):
        assert main(["access", *words, "--root", root]) == 0
    with database.read() as connection:
        rules = records.read_rules(connection, default_public=True)
    assert rules.public == {"demo": False, "demo/brain": True}
    assert rules.grants == {
        Subject("group", "lab"): {"demo": Role.READER},
        Subject("user", "alice@lab.example"): {"demo/brain": Role.WRITER},
        Subject("user", "ada"): {"*": Role.ADMIN},
    }
    assert SIGNED_IN not in rules.grants
    capsys.readouterr()
    assert main(["access", "list", "--root", root]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["demo", "private"] in lines
    assert ["demo/brain", "writer", "user", "alice@lab.example"] in lines
    assert main(["access", "set", "demo", "default", "--root", root]) == 0
    with database.read() as connection:
        assert "demo" not in records.read_rules(connection, default_public=True).public


def test_a_place_where_nothing_lies_is_told(
    root: str, capsys: pytest.CaptureFixture[str], make_layer: Callable[[str], None]
) -> None:
    """It may come later, or its name may be misspelt: then what was meant is still public."""
    make_layer("demo/brain/neurons")
    for place, told in (
        ("demo/brian", True),
        ("dem", True),
        ("demo/brain", False),
        ("demo", False),
    ):
        assert main(["access", "set", place, "private", "--root", root]) == 0
        assert ("nothing lies at" in capsys.readouterr().err) == told


@pytest.fixture
def make_layer(root: str) -> Callable[[str], None]:
    """What makes a layer's folder."""

    def make(address: str) -> None:
        Store(root).write(f"{address}/zarr.json", b"{}")

    return make


@pytest.mark.parametrize(
    "words",
    [
        ["token", "create", "--name", "x", "--scope", "read", "--dataset", "demo"],
        ["token", "create", "--name", "x", "--scope", "read", "--dataset", "a/b/c"],
        ["token", "create", "--name", "x", "--scope", "read", "--collection", "a/b"],
        ["token", "create", "--name", "x", "--scope", "read", "--collection", "Upper"],
        ["token", "create", "--name", "x", "--scope", "read", "--expires", "soon"],
        ["token", "create", "--name", "x", "--scope", "read", "--expires", "0d"],
        ["token", "create", "--name", " ", "--scope", "read"],
        ["access", "set", "**", "private"],
        ["access", "set", "../etc", "private"],
        ["access", "grant", "a/b/c", "reader", "--user", "x"],
        ["access", "grant", "a", "reader", "--user", "two\nlines"],
        ["access", "revoke", "a", "--user", "nobody"],
    ],
)
def test_what_cannot_be_meant_is_refused(root: str, words: list[str], database: Database) -> None:
    """Exit code 2, and nothing is changed."""
    assert main([*words, "--root", root]) == 2
    if database.exists():
        with database.read() as connection:
            assert records.read_keys(connection, ended=True) == {}
            rules = records.read_rules(connection, default_public=True)
        assert (rules.public, rules.grants) == ({}, {})


def test_everything_is_hidden_by_one_command(
    root: str, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a place says of itself counts first, and is named; it is listed, and taken back."""
    assert main(["access", "set", "demo/open", "public", "--root", root]) == 0
    assert main(["access", "set", "*", "private", "--root", root]) == 0
    told = capsys.readouterr()
    assert "* is private; services know within 5 seconds" in told.out
    assert "demo/open stay public" in told.err

    def is_public(name: str) -> bool:
        with database.read() as connection:
            rules = records.read_rules(connection, default_public=True)
        return rules.is_public(DatasetId("demo", name))

    assert (is_public("brain"), is_public("open")) == (False, True)
    assert main(["access", "list", "--root", root]) == 0
    assert capsys.readouterr().out.split() == ["*", "private", "demo/open", "public"]
    assert main(["access", "set", "*", "default", "--root", root]) == 0
    assert is_public("brain")


@pytest.mark.parametrize("action", ["list", "create --name x --scope read"])
def test_without_a_database_that_is_named_nothing_is_made(
    action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says how to name one; a bucket has none beside it."""
    for more in ([], ["--root", "s3://bucket/brains"]):
        assert main(["token", *action.split(), *more]) == 2
        assert "--database URL" in capsys.readouterr().err


def test_root_and_database_may_come_from_the_environment(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for the service; the option goes first."""
    create = ["token", "create", "--name", "x", "--scope", "read"]
    monkeypatch.setenv("MICROTOME_ROOT", root)
    assert main(create) == 0
    assert Path(f"{root}.access.sqlite").exists()
    monkeypatch.setenv("MICROTOME_DATABASE_URL", f"sqlite:///{tmp_path}/other.sqlite")
    assert main(create) == 0
    assert (tmp_path / "other.sqlite").exists()
    assert main([*create, "--database", f"sqlite:///{tmp_path}/third.sqlite"]) == 0
    assert (tmp_path / "third.sqlite").exists()


def test_a_server_is_upgraded_by_command_alone(
    postgres: "Cluster", capsys: pytest.CaptureFixture[str]
) -> None:
    """Other commands say what to do; afterwards they work, and the password is never printed."""
    url = ["--database", postgres.create()]
    create = ["token", "create", "--name", "x", "--scope", "read"]
    assert main([*create, *url]) == 75
    assert "microtome database upgrade" in capsys.readouterr().err
    assert main(["database", "upgrade", *url]) == 0
    assert main(["database", "status", *url]) == 0
    out = capsys.readouterr()
    assert "version" in out.out
    assert "no-secret" not in out.out + out.err
    assert main([*create, *url]) == 0


def test_a_service_refuses_to_start_with_a_newer_database(
    root: str, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 75, and a message that says why."""
    database.upgrade()
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert main(["serve", root, "--port", "0"]) == 75
    assert "newer microtome" in capsys.readouterr().err


def test_an_upgrade_of_a_newer_database_is_not_tried_again(
    root: str, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, at which the Job of a cluster gives up; what its version is, `status` says."""
    database.upgrade()
    assert main(["database", "status", "--root", root]) == 0
    assert f"up to date, version {database.needed}" in capsys.readouterr().out
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert main(["database", "upgrade", "--root", root]) == 2
    assert f"the newest is {database.needed}: a newer microtome" in capsys.readouterr().err


def test_keys_are_all_different() -> None:
    """Ids and secrets are of the lengths and letters that the service looks for."""
    from microtome_service.auth.keys import new_id, new_secret

    made = {f"mt_{new_id()}_{new_secret()}" for _ in range(1000)}
    assert len(made) == 1000
    assert all(split(text) for text in made)
    assert len(np.unique([len(text) for text in made])) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["access", "set", "mylab/vnc", "private"],
        ["access", "list"],
        ["token", "create", "--name", "ci", "--scope", "read"],
        ["token", "list"],
        ["database", "upgrade"],
    ],
)
def test_a_misspelt_root_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is said to be private in a folder that is not there, and no file is made."""
    assert main([*words, "--root", f"{tmp_path}/stroe"]) == 2
    assert capsys.readouterr().err.endswith("stroe: no such folder\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["access", "token"])
def test_lists_make_no_database(what: str, root: str, tmp_path: Path) -> None:
    """Who asks what is granted where nothing is leaves no file."""
    assert main([what, "list", "--root", root]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
