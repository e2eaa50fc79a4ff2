"""The database of keys and grants: made, renewed and refused, in SQLite and in PostgreSQL."""

import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from microtome_core.errors import InputError, NotFound, StorageError
from microtome_core.names import DatasetId
from microtome_service.auth import records
from microtome_service.auth.database import Database, UnknownSchema, default_url
from microtome_service.auth.models import METADATA
from microtome_service.auth.roles import Role
from microtome_service.auth.rules import SIGNED_IN, Rules, Subject
from microtome_service.principal import Principal

if TYPE_CHECKING:
    from tests.postgres import Cluster


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database of this version."""
    with Database(database_url) as made:
        made.upgrade()
        yield made


def test_an_upgrade_makes_the_tables_and_is_done_once(database_url: str) -> None:
    """The first upgrade starts from nothing, a second one changes nothing."""
    with Database(database_url) as database:
        with pytest.raises(StorageError):
            database.check()
        before, after = database.upgrade()
        assert before is None
        assert database.upgrade() == (after, after)
        database.check()


def test_the_migrations_make_what_the_code_expects(database: Database) -> None:
    """Tables as migrated do not differ from the tables as declared.

    That of words is no table of the same form in every database.
    """

    def is_declared(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or not (name or "").startswith("search_words")

    options = {"compare_type": True, "include_name": is_declared}
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []


def test_upgrades_at_the_same_time_do_no_harm(database_url: str) -> None:
    """Of several who make the tables, one does and the others wait."""
    faults: list[BaseException] = []

    def upgrade() -> None:
        try:
            with Database(database_url) as database:
                database.upgrade()
                database.check()
        except BaseException as error:  # noqa: BLE001 - told below
            faults.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_a_newer_database_is_refused(database: Database) -> None:
    """A version that is not known is neither read, written nor upgraded, and is told."""
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'from-2031'"))
    for use in (database.check, database.upgrade):
        with pytest.raises(UnknownSchema, match=r"from-2031.*newer microtome made it"):
            use()
    with pytest.raises(UnknownSchema), database.write() as connection:
        records.set_visibility(connection, "demo", False)


def test_what_is_written_is_read(database: Database) -> None:
    """Visibility, grants and keys come back as they were given; the later word counts."""
    with database.write() as connection:
        records.set_visibility(connection, "demo", False)
        records.set_visibility(connection, "demo/brain", False)
        records.set_visibility(connection, "demo/brain", True)
        records.set_visibility(connection, "gone", True)
        records.set_visibility(connection, "gone", None)
        records.grant(connection, "demo", Subject("user", "alice"), Role.READER)
        records.grant(connection, "demo", Subject("user", "alice"), Role.WRITER)
        records.grant(connection, "*", Subject("group", "alice"), Role.ADMIN)
        records.grant(connection, "demo/brain", SIGNED_IN, Role.READER)
        key, shown = records.create_key(connection, "ci", Role.WRITER, "demo", 60)
    with database.read() as connection:
        rules = records.read_rules(connection, default_public=True)
        keys = records.read_keys(connection)
    assert rules.public == {"demo": False, "demo/brain": True}
    assert rules.grants == {
        Subject("user", "alice"): {"demo": Role.WRITER},
        Subject("group", "alice"): {"*": Role.ADMIN},
        SIGNED_IN: {"demo/brain": Role.READER},
    }
    assert keys == {key.id: key}
    assert shown.startswith(f"mt_{key.id}_")


def test_what_fails_half_way_is_not_kept(database: Database) -> None:
    """A change is kept whole or not at all."""

    def fail() -> None:
        with database.write() as connection:
            records.set_visibility(connection, "demo", False)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.read() as connection:
        assert records.read_rules(connection, default_public=True) == Rules()


def test_secrets_are_not_kept(database: Database) -> None:
    """No column of any table holds the secret of a key."""
    with database.write() as connection:
        _, shown = records.create_key(connection, "ci", Role.READER, "*", None)
    secret = shown.rpartition("_")[2]
    with database.read() as connection:
        rows = [connection.execute(table.select()).all() for table in METADATA.sorted_tables]
    assert "ci" in str(rows)
    assert secret not in str(rows)


def test_keys_end(database: Database) -> None:
    """Revoked and expired keys are told from those that hold; none is revoked twice."""
    with database.write() as connection:
        kept, _ = records.create_key(connection, "kept", Role.READER, "*", None)
        ended, _ = records.create_key(connection, "ended", Role.READER, "*", 1)
        revoked, _ = records.create_key(connection, "revoked", Role.READER, "*", None)
        records.revoke_key(connection, revoked.id)
        records.note_use(connection, kept.id, 1234)
    with database.read() as connection:
        every = records.read_keys(connection, ended=True)
    assert [key.name for key in every.values() if key.holds(time() + 2)] == ["kept"]
    assert set(every) == {kept.id, ended.id, revoked.id}
    assert every[kept.id].used == 1234
    for key_id in (revoked.id, "never-was"):
        with pytest.raises(NotFound), database.write() as connection:
            records.revoke_key(connection, key_id)


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "two\nlines", "\x1b[31m"])
def test_names_that_would_spoil_a_log_are_refused(database: Database, name: str) -> None:
    """Names of keys, users and groups are 1 to 200 printable characters."""
    with pytest.raises(InputError), database.write() as connection:
        records.create_key(connection, name, Role.READER, "*", None)
    with pytest.raises(InputError), database.write() as connection:
        records.grant(connection, "*", Subject("user", name), Role.READER)


def test_a_file_is_for_its_owner_alone_and_not_made_by_looking(tmp_path: Path) -> None:
    """Reading makes no file; an upgrade makes one that others cannot read."""
    database = Database(f"sqlite:///{tmp_path}/a file.sqlite")
    with pytest.raises(StorageError):
        database.check()
    assert not database.exists()
    database.upgrade()
    assert stat.S_IMODE((tmp_path / "a file.sqlite").stat().st_mode) == 0o600


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Other bytes are not taken for an empty database."""
    (tmp_path / "a.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StorageError, match="not a database"):
        Database(f"sqlite:///{tmp_path}/a.sqlite").check()


@pytest.mark.parametrize(
    "url", ["", "access.sqlite", "sqlite://", "sqlite:///relative", "mysql://me:hush@host/x", "::"]
)
def test_other_databases_are_refused(url: str) -> None:
    """Only files by their whole path and PostgreSQL; a password is not repeated."""
    with pytest.raises(InputError) as caught:
        Database(url)
    assert "hush" not in str(caught.value)


def test_a_password_is_never_shown(unused_port: object) -> None:
    """Neither the database's name nor its errors hold the password."""
    port = unused_port()  # type: ignore[operator]
    database = Database(f"postgresql://me:hush-hush@127.0.0.1:{port}/none")
    with pytest.raises(StorageError) as caught:
        database.check()
    assert "hush" not in f"{database} {caught.value}"


def test_a_server_that_stops_and_comes_back(postgres: "Cluster") -> None:
    """While the server is away reads are StorageErrors; then connections are made anew."""
    with Database(postgres.create()) as database:
        database.upgrade()
        postgres.stop()
        try:
            with pytest.raises(StorageError):
                database.check()
        finally:
            postgres.start()
        database.check()


def test_the_default_lies_beside_the_folder(tmp_path: Path) -> None:
    """Of a folder it is its sibling, whichever links lead there; other stores have none."""
    (tmp_path / "real/brains").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real/brains")
    beside = f"sqlite:///{tmp_path.resolve()}/real/brains.access.sqlite"
    assert default_url(f"file://{tmp_path}/link") == beside
    assert default_url(f"file://{tmp_path}/real/../link/") == beside
    assert default_url("file:///data/brains/") == "sqlite:////data/brains.access.sqlite"
    assert default_url("s3://bucket/brains") is None
    assert default_url("file:///") is None


BRAIN, OTHER = DatasetId("demo", "brain"), DatasetId("demo", "other")
ALICE = Principal("alice", frozenset({"lab"}), signed_in=True)


@pytest.mark.parametrize(
    ("public", "expected"),
    [
        ({}, (True, True)),
        ({"demo": False}, (False, False)),
        ({"demo": False, "demo/brain": True}, (True, False)),
        ({"demo/brain": False}, (False, True)),
        ({"else": False}, (True, True)),
    ],
)
def test_the_nearest_word_on_visibility_counts(
    public: dict[str, bool], expected: tuple[bool, bool]
) -> None:
    """A dataset's own entry counts before its collection's, and that before the default."""
    rules = Rules(public=public)
    assert (rules.is_public(BRAIN), rules.is_public(OTHER)) == expected


@pytest.mark.parametrize(
    ("subject", "place", "brain", "other"),
    [
        (Subject("user", "alice"), "demo/brain", Role.WRITER, Role.NONE),
        (Subject("user", "alice"), "demo", Role.WRITER, Role.WRITER),
        (Subject("user", "alice"), "*", Role.WRITER, Role.WRITER),
        (Subject("group", "lab"), "demo/brain", Role.WRITER, Role.NONE),
        (SIGNED_IN, "demo/brain", Role.WRITER, Role.NONE),
        (Subject("group", "alice"), "*", Role.NONE, Role.NONE),
        (Subject("user", "lab"), "*", Role.NONE, Role.NONE),
        (Subject("user", "alice"), "dem", Role.NONE, Role.NONE),
    ],
)
def test_grants_count_for_whom_and_where_they_are(
    subject: Subject, place: str, brain: Role, other: Role
) -> None:
    """A user is never taken for a group of the same name, nor a place for another."""
    rules = Rules(grants={subject: {place: Role.WRITER}})
    assert (rules.role(ALICE, BRAIN), rules.role(ALICE, OTHER)) == (brain, other)


def test_the_highest_of_several_grants_counts() -> None:
    """A narrower grant of less takes nothing away."""
    alice = Subject("user", "alice")
    rules = Rules(grants={alice: {"demo": Role.ADMIN, "demo/brain": Role.READER}})
    assert rules.role(ALICE, BRAIN) is Role.ADMIN


def test_a_key_gives_its_own_and_nothing_else() -> None:
    """Grants to a user, or to all who are signed in, are not for keys, however they are named."""
    rules = Rules(
        grants={SIGNED_IN: {"*": Role.ADMIN}, Subject("user", "key:x"): {"*": Role.ADMIN}}
    )
    key = Principal("key:x", own={"demo/brain": Role.READER})
    assert rules.role(key, BRAIN) is Role.READER
    assert rules.role(key, OTHER) is Role.NONE
    assert rules.role_in_collection(key, "demo") is Role.NONE
