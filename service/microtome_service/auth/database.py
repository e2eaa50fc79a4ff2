"""The database of keys and grants: SQLite in a file, or PostgreSQL by URL."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from microtome_core.errors import InputError, StorageError

_MIGRATIONS = Path(__file__).parent / "migrations"
_SUFFIX = ".access.sqlite"
_SECONDS = 3
# Any number, the same in every version: two upgrades at a time wait for each other.
_LOCK = 7_214_530_881


class UnknownSchema(StorageError):
    """The database is of another version; the message says what to do."""


class Database:
    """One database. Connections are short: state is small and read whole.

    Parameters
    ----------
    url : str
        ``sqlite:////absolute/file`` or ``postgresql+psycopg://user:password@host/name``.

    Raises
    ------
    InputError
        Another kind of database, or a URL that cannot be read; its password is not repeated.
    """

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
        self.file = Path(self._url.database or "") if _is_sqlite(self._url) else None
        self._engine = _engine(self._url)
        self._seen = False
        scripts = ScriptDirectory(str(_MIGRATIONS))
        self._head = scripts.get_current_head()
        self._known = frozenset(script.revision for script in scripts.walk_revisions())

    def __str__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    def exists(self) -> bool:
        """Tell whether there is a file; of a server's database only use can tell.

        Raises
        ------
        StorageError
            The folder cannot be looked into: what is not seen need not be absent.
        """
        try:
            return self.file is None or self.file.exists()
        except OSError as error:
            raise StorageError(f"{self}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections kept."""
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection to a database of this version.

        Raises
        ------
        StorageError
            It cannot be reached, or is of another version.
        """
        with self._errors(), self._engine.connect() as connection:
            self._check_current(connection)
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Yield a connection that shows the database as it is now to the end; raises as `read`."""
        # In SQLite every transaction does.
        options = {} if _is_sqlite(self._url) else {"isolation_level": "REPEATABLE READ"}
        with (
            self._errors(),
            self._engine.connect().execution_options(**options) as connection,
        ):
            self._check_current(connection)
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection whose changes are kept all or none; raises as `read`."""
        with self._errors(), self._begin() as connection:
            self._check_current(connection)
            yield connection

    @property
    def needed(self) -> str:
        """The version of the tables that this microtome uses."""
        return str(self._head)

    def check(self) -> None:
        """Return if the database can be used by this version; raises as `read`."""
        with self.read():
            pass

    def make(self) -> None:
        """Make the database where there never was one.

        Raises
        ------
        StorageError
            It cannot be made, or was there before and is gone: an empty one in its place would open
            what is private.
        """
        if self.exists():
            return
        if self._seen:
            raise StorageError(f"{self}: it was there and is not any more")
        self.upgrade()

    def upgrade(self) -> tuple[str | None, str | None]:
        """Make the database what this version needs, and return its version before and now.

        A file that is not there is made, for its owner alone.

        Raises
        ------
        UnknownSchema
            It was made by a newer version.
        """
        if self.file is not None:
            _make_file(self.file)
        with self._errors(), self._begin() as connection:
            self._lock(connection)
            before = self._version(connection)
            if before is not None:
                self._check_known(before)
            command.upgrade(_config(connection), "head")
        return before, self._head

    def downgrade(self, version: str) -> str:
        """Make the tables what an older version needs, and return what they were.

        What only the newer version kept is lost; keys, visibility and grants stay.

        Raises
        ------
        InputError
            No version that is known here, or a later one.
        UnknownSchema
            There are no tables, or a newer version made them.
        """
        if version not in self._known:
            raise InputError(
                f"version {version[:40]!r}: expected one of {', '.join(self.versions)}"
            )
        with self._errors(), self._begin() as connection:
            self._lock(connection)
            before = self._version(connection)
            if before is None:
                raise UnknownSchema(f"{self}: no tables yet")
            self._check_known(before)
            if self.versions.index(version) > self.versions.index(before):
                raise InputError(f"{self}: version {before} is older than {version}")
            command.downgrade(_config(connection), version)
            self._seen = False
        return before

    @property
    def versions(self) -> list[str]:
        """Every version of the tables that is known here, oldest first."""
        return sorted(self._known)

    def _lock(self, connection: Connection) -> None:
        """Let nobody else migrate meanwhile; SQLite's transaction does so itself."""
        if not _is_sqlite(self._url):
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})

    def _version(self, connection: Connection) -> str | None:
        return MigrationContext.configure(connection).get_current_revision()

    def _check_current(self, connection: Connection) -> None:
        version = self._look(connection) if self._seen else self._version(connection)
        if version is None:
            raise UnknownSchema(f"{self}: no tables yet: run `microtome database upgrade`")
        self._check_known(version)
        if version != self._head:
            raise UnknownSchema(
                f"{self}: version {version}, this service needs {self._head}: "
                "run `microtome database upgrade`"
            )
        self._seen = True

    def _look(self, connection: Connection) -> str | None:
        """Return the version of a database that has one, in a twentieth of the time."""
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()

    def _check_known(self, version: str) -> None:
        if version not in self._known:
            raise UnknownSchema(
                f"{self}: version {version[:40]!r} is not known here, the newest is {self._head}: "
                "a newer microtome made it"
            )

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        options = {"immediate": True}
        with self._engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            # The driver's own words: SQLAlchemy's would repeat statements and their values.
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise StorageError(f"{self}: {cause}") from error


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def default_url(root: str) -> str | None:
    """Return the database of a store's folder, which lies beside it; None for other stores.

    By whichever links a folder is reached, it is the same database: another one, or none, would
    open what is private.

    >>> default_url("file:///data/brains")
    'sqlite:////data/brains.access.sqlite'
    """
    path = root.removeprefix("file://").rstrip("/")
    if path == root or not path:
        return None
    folder = Path(path).resolve()
    return f"sqlite:///{folder}{_SUFFIX}" if folder.name else None


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise InputError("the database's URL cannot be read") from error
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite" and parsed.database and parsed.database.startswith("/"):
        return parsed
    if parsed.drivername == "postgresql+psycopg":
        return parsed
    raise InputError(
        f"a database of {parsed.drivername[:40]!r}: expected sqlite:////absolute/file or "
        "postgresql+psycopg://user:password@host/name"
    )


def _is_sqlite(url: URL) -> bool:
    return url.drivername == "sqlite"


def _engine(url: URL) -> Engine:
    if not _is_sqlite(url):
        options = {
            "connect_timeout": _SECONDS,
            "tcp_user_timeout": _SECONDS * 1000,
            "options": f"-c statement_timeout={_SECONDS}s",
        }
        try:
            return create_engine(
                url, connect_args=options, pool_size=2, pool_timeout=_SECONDS, pool_pre_ping=True
            )
        except ModuleNotFoundError as error:
            raise InputError("PostgreSQL needs the extra 'postgresql' of microtome") from error
    # mode=rw: a look at a file that is not there must not make it.
    file = f"file:{quote(url.database or '')}?mode=rw&uri=true"
    engine = create_engine(
        f"sqlite:///{file}", poolclass=NullPool, connect_args={"timeout": _SECONDS}
    )
    event.listen(engine, "connect", _own_transactions)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _own_transactions(connection: object, _: object) -> None:
    # Python's driver would commit by itself before it changes tables.
    connection.isolation_level = None  # type: ignore[attr-defined]


def _begin_sqlite(connection: Connection) -> None:
    # Who reads first and writes then may find the file taken in between.
    writes = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _make_file(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
