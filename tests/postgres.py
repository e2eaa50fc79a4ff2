"""A PostgreSQL cluster of its own in a folder of its own; the programs are of Debian's package.

The server refuses to run as root: there, another user is taken.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg

PROGRAMS = ("initdb", "postgres", "setpriv")
PASSWORD = "no-secret-of-anyone"
_USERS = ("postgres", "nobody")


@dataclass(slots=True)
class Cluster:
    """A server that can be stopped and started.

    Parameters
    ----------
    folder : Path
    port : int
    """

    folder: Path
    port: int
    server: "subprocess.Popen[bytes] | None" = None

    def url(self, database: str) -> str:
        """Return where a database is."""
        return f"postgresql+psycopg://tester:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def create(self) -> str:
        """Make an empty database and return its URL."""
        name = f"test_{uuid4().hex}"
        with psycopg.connect(self._plain("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type] - made above
        return self.url(name)

    def start(self) -> None:
        """Run the server until `stop`, or until the tests end, however these end."""
        words = [
            *("-D", f"{self.folder}/data", "-p", str(self.port), "-k", str(self.folder)),
            *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
        ]
        command = [*_as_user("--pdeathsig", "INT"), _find("postgres"), *words]
        self.server = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(300):
            try:
                psycopg.connect(self._plain("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                assert self.server.poll() is None, "the server ended at its start"
                time.sleep(0.1)
            else:
                return
        raise TimeoutError(self.folder)

    def stop(self) -> None:
        """End the server."""
        if self.server is not None:
            self.server.send_signal(2)  # SIGINT: a fast shutdown
            self.server.wait(60)

    def _plain(self, database: str) -> str:
        return self.url(database).replace("+psycopg", "")


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [program for program in PROGRAMS if not _find(program)]


@contextmanager
def running(unused_port: Callable[[], int]) -> Iterator[Cluster]:
    """Make a cluster and run it."""
    # Not below pytest's own folder, into which other users cannot look.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        _make(folder)
        cluster = Cluster(folder, unused_port())
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder)


def _make(folder: Path) -> None:
    (folder / "password").write_text(PASSWORD)
    if os.geteuid() == 0:
        user = _user()
        for path in (folder, folder / "password"):
            os.chown(path, user.pw_uid, user.pw_gid)
    options = ("-U", "tester", "--auth=scram-sha-256", "--no-sync", "--locale=C", "-E", "UTF8")
    command = [_find("initdb"), "-D", f"{folder}/data", *options, f"--pwfile={folder}/password"]
    subprocess.run(_as_user() + command, cwd=folder, check=True, capture_output=True)


def _as_user(*options: str) -> list[str]:
    words = ["setpriv", *options]
    if os.geteuid() == 0:
        user = _user()
        words += ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    return words


def _user() -> pwd.struct_passwd:
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(names[name] for name in _USERS if name in names)


def _find(program: str) -> str:
    """Return a program's path; Debian keeps the server's where no shell looks."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)])
    return shutil.which(program, path=path) or ""
