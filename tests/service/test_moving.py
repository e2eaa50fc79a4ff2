"""Databases with data: up, down, and from one kind to another."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, text

from microtome_cli.main import main
from microtome_core.errors import Conflict, InputError, StorageError
from microtome_service.auth import database as module
from microtome_service.auth import records
from microtome_service.auth.database import Database, UnknownSchema
from microtome_service.auth.models import LINKS, SESSIONS
from microtome_service.auth.moving import TABLES, copy
from microtome_service.auth.roles import Role
from microtome_service.auth.rules import SIGNED_IN, Subject

if TYPE_CHECKING:
    from tests.postgres import Cluster

VERSIONS = ("0001", "0002", "0003", "0004", "0005")
# Of the first version on; later tables are remade or signed into again.
KEPT = ("keys", "visibility", "grants")


def fill(database: Database) -> None:
    """Say something in every table, words of other scripts among it."""
    with database.write() as connection:
        records.set_visibility(connection, "demo", False)
        records.set_visibility(connection, "demo/open", True)
        records.grant(connection, "demo", Subject("user", "Zoë Ω"), Role.WRITER)
        records.grant(connection, "*", SIGNED_IN, Role.READER)
        records.create_key(connection, "laptop", Role.READER, "demo/brain", 3600)
        gone, _ = records.create_key(connection, "lost", Role.ADMIN, "*", None)
        records.revoke_key(connection, gone.id)
        times = {"created": 1, "expires": 2**40}
        of_key = {"digest": "d" * 64, "key_id": gone.id, **times}
        of_user = {"digest": "e" * 64, "key_id": "", "subject": "Zoë Ω", **times}
        connection.execute(SESSIONS.insert(), of_key)
        connection.execute(SESSIONS.insert(), of_user)
        links = [
            {"id": f"link-{n}", "page": "/view/a/b", "state": '{"µ": 1}', "used": n}
            for n in range(1203)
        ]
        connection.execute(LINKS.insert(), links)


def rows(database: Database, *names: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return what some tables hold, sorted."""
    found = {}
    with database._engine.connect() as connection:
        for table in TABLES:
            if table.name in (names or [each.name for each in TABLES]):
                values = connection.execute(table.select()).all()
                found[table.name] = sorted(map(tuple, values), key=repr)
    return found


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database of this version with something in every table."""
    with Database(database_url) as made:
        made.upgrade()
        fill(made)
        yield made


@pytest.mark.parametrize("version", VERSIONS)
def test_keys_and_grants_survive_the_way_down_and_up(database: Database, version: str) -> None:
    """To each version that there was, and back: what people have said is as it was."""
    before = rows(database, *KEPT)
    assert database.downgrade(version) == VERSIONS[-1]
    assert rows(database, *KEPT) == before
    if version != VERSIONS[-1]:
        with pytest.raises(UnknownSchema, match=f"version {version}, .*microtome database upgrade"):
            database.check()
    assert database.upgrade() == (version, VERSIONS[-1])
    database.check()
    assert rows(database, *KEPT) == before


def test_an_older_version_has_no_sessions_of_users(database: Database) -> None:
    """It could not tell whose they are; those of keys stay."""
    database.downgrade("0004")
    database.upgrade()
    assert [row[0] for row in rows(database, "sessions")["sessions"]] == ["d" * 64]


def test_each_version_of_the_tables_is_that_of_the_way_up(
    database: Database, database_url: str
) -> None:
    """Taken back to a version, tables and columns are those that this version had."""
    with Database(database_url) as again:
        for version in reversed(VERSIONS):
            database.downgrade(version)
            assert columns(again) == made_up_to(version)


def columns(database: Database) -> dict[str, list[str]]:
    """Return the columns of each table; those inside SQLite's index of words are its own."""
    with database._engine.connect() as connection:
        found = inspect(connection)
        return {
            name: sorted(column["name"] for column in found.get_columns(name))
            for name in found.get_table_names()
            if not name.startswith(("search_words", "alembic"))
        }


def made_up_to(version: str) -> dict[str, list[str]]:
    """Return the columns of a new file of that version."""
    with Database(f"sqlite:///{Path.cwd()}/{version}.sqlite") as new:
        module._make_file(new.file or Path())
        try:
            with new._begin() as connection:
                config = Config(attributes={"connection": connection})
                config.set_main_option("script_location", str(module._MIGRATIONS))
                command.upgrade(config, version)
            return columns(new)
        finally:
            (new.file or Path()).unlink()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MICROTOME_ROOT", "MICROTOME_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_only_a_known_older_version_is_gone_back_to(database: Database) -> None:
    """Unknown and later ones are refused, and nothing changes."""
    before = rows(database)
    with pytest.raises(InputError, match=f"expected one of {', '.join(VERSIONS)}"):
        database.downgrade("base")
    assert rows(database) == before
    database.downgrade("0001")
    with pytest.raises(InputError, match="older"):
        database.downgrade("0003")


@pytest.mark.parametrize("back", [False, True])
def test_all_that_was_said_moves_to_another_kind(
    postgres: "Cluster", tmp_path: Path, back: bool
) -> None:
    """Row by row the same, from a file to PostgreSQL and from there to a file."""
    urls = [f"sqlite:///{tmp_path}/old.sqlite", postgres.create()]
    with Database(urls[back]) as old, Database(urls[not back]) as new:
        for one in (old, new):
            one.upgrade()
        fill(old)
        before = rows(old)
        counts = copy(old, new)
        assert rows(new) == before == rows(old)
        assert counts == {name: len(found) for name, found in before.items()}
        assert counts["links"] == 1203


def test_nothing_is_copied_over_what_is_there(database: Database, tmp_path: Path) -> None:
    """A database in which anything was said is left as it is, and so is one that fails half way."""
    with Database(f"sqlite:///{tmp_path}/new.sqlite") as new:
        new.upgrade()
        with new.write() as connection:
            records.set_visibility(connection, "other", False)
        before = rows(new)
        with pytest.raises(Conflict, match="visibility hold something"):
            copy(database, new)
        assert rows(new) == before
        with new.write() as connection:
            records.set_visibility(connection, "other", None)
            connection.execute(text("DROP TABLE links"))
        with pytest.raises(StorageError):
            copy(database, new)
        with new._engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM keys")).scalar() == 0


def test_the_file_beside_a_root_moves_by_a_command(
    postgres: "Cluster", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It needs no more than the new address; the new database then answers as the old one did."""
    (tmp_path / "root").mkdir()
    root, url = ["--root", str(tmp_path / "root")], postgres.create()
    assert main(["database", "copy", url, *root]) == 2
    assert "nothing to copy" in capsys.readouterr().err
    assert main(["access", "set", "demo", "private", *root]) == 0
    assert main(["access", "grant", "demo", "reader", "--user", "ada", *root]) == 0
    capsys.readouterr()
    assert main(["database", "copy", url, *root]) == 0
    told = capsys.readouterr().out
    assert "0 keys, 1 visibility, 1 grants" in told
    assert "no-secret-of-anyone" not in told
    lists = []
    for where in (root, ["--database", url]):
        assert main(["access", "list", *where]) == 0
        lists.append(capsys.readouterr().out)
    assert lists[0] == lists[1] != ""
    assert main(["database", "downgrade", "0001", "--database", url]) == 0
    assert f"version 0001, was {VERSIONS[-1]}" in capsys.readouterr().out
