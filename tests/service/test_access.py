"""Who asks, by keys: what they see, when keys end, and what happens without the database."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep, time
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from sqlalchemy import update

from microtome_core.errors import StorageError
from microtome_core.store.location import Store
from microtome_service.auth import access, records
from microtome_service.auth.access import Access
from microtome_service.auth.database import Database
from microtome_service.auth.keys import split
from microtome_service.auth.models import KEYS
from microtome_service.auth.roles import Role
from microtome_service.settings import Settings

if TYPE_CHECKING:
    from tests.postgres import Cluster

SECRET = "/api/datasets/demo/secret/neurons"
OPEN = "/api/datasets/demo/open/neurons"


class Desk:
    """A store with a public and a private dataset, its database, and a caller of its service."""

    def __init__(self, store: Store, url: str, connect: Callable[..., Any]) -> None:
        self.url = url
        self.database = Database(url)
        self.database.upgrade()
        with self.database.write() as connection:
            records.set_visibility(connection, "demo/secret", False)
        self.call = connect(store, database_url=url)
        self.connect = connect
        self.store = store

    def key(self, role: Role, place: str = "*", seconds: int | None = None) -> str:
        """Make a key."""
        with self.database.write() as connection:
            return records.create_key(connection, "ci", role, place, seconds)[1]

    def revoke(self, key: str) -> None:
        """Revoke a key."""
        with self.database.write() as connection:
            records.revoke_key(connection, (split(key) or ("",))[0])

    def get(self, url: str, *credentials: str) -> Any:  # noqa: ANN401 - httpx's own
        """GET with these headers Authorization."""
        return self.call.get(url, headers=[("Authorization", c) for c in credentials])


@pytest.fixture
def make_desk(make_builder: Callable[..., Any], connect: Callable[..., Any]) -> Iterator[Any]:
    """What makes a desk over a database."""
    made: list[Desk] = []

    def make(url: str) -> Desk:
        store = Store("memory://access")
        voxels = np.arange(60, dtype="uint8").reshape(3, 4, 5)
        for dataset in ("open", "secret"):
            make_builder(store).layer(f"demo/{dataset}/neurons", "zyx", voxels)
        made.append(Desk(store, url, connect))
        return made[-1]

    yield make
    for desk in made:
        desk.database.close()


@pytest.fixture
def desk(make_desk: Callable[[str], Desk], database_url: str) -> Desk:
    """A desk over a database of each kind."""
    return make_desk(database_url)


@pytest.fixture
def file_desk(make_desk: Callable[[str], Desk], tmp_path: Path) -> Desk:
    """A desk over a file."""
    return make_desk(f"sqlite:///{tmp_path}/access.sqlite")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Token", "TOKEN"])
def test_a_key_opens_what_it_is_for(desk: Desk, scheme: str) -> None:
    """A key is taken as Bearer and as Token, in any case; without one a private dataset is 404."""
    key = desk.key(Role.READER, "demo/secret")
    assert desk.get(SECRET).status_code == 404
    assert desk.get(SECRET, f"{scheme} {key}").status_code == 200
    assert desk.get(OPEN).status_code == 200


def test_everything_is_hidden_by_one_rule(desk: Desk) -> None:
    """Whatever the settings say, at once, and from lists; what is said to be public stays so."""
    assert desk.get(OPEN).status_code == 200
    key = desk.key(Role.READER, "demo/open")
    with desk.database.write() as connection:
        records.set_visibility(connection, "*", public=False)
    assert desk.get(OPEN).status_code == 404
    assert desk.get("/api/datasets").json()["datasets"] == []
    assert desk.get(OPEN, f"Bearer {key}").status_code == 200
    with desk.database.write() as connection:
        records.set_visibility(connection, "demo/open", public=True)
    assert desk.get(OPEN).status_code == 200
    with desk.database.write() as connection:
        records.set_visibility(connection, "demo/open", public=None)
        records.set_visibility(connection, "*", public=None)
    assert desk.get(OPEN).status_code == 200


def test_a_key_of_a_collection_is_for_all_in_it(file_desk: Desk) -> None:
    """A collection's key opens its datasets, another's does not, one for everywhere does."""
    opens = {p: file_desk.key(Role.READER, p) for p in ("demo", "other", "demo/open", "*")}
    codes = {p: file_desk.get(SECRET, f"Bearer {k}").status_code for p, k in opens.items()}
    assert codes == {"demo": 200, "other": 404, "demo/open": 404, "*": 200}


@pytest.mark.parametrize("scheme", ["Token", "Bearer"])
def test_the_token_public_is_nobody(file_desk: Desk, scheme: str) -> None:
    """What intern sends unless told otherwise is no credential and no error."""
    assert file_desk.get(OPEN, f"{scheme} public").status_code == 200
    assert file_desk.get(SECRET, f"{scheme} public").status_code == 404


@pytest.mark.parametrize(
    "credential",
    [
        "Bearer nonsense",
        "Bearer",
        "Bearer ",
        "Basic bWU6cGFzc3dvcmQ=",
        "",
        "Bearer a.b.c",
        "Bearer mt_" + "a" * 12 + "_" + "b" * 43,
        "Bearer \N{LATIN SMALL LETTER E WITH ACUTE}".encode("latin-1"),
    ],
)
def test_credentials_that_do_not_hold_are_401_even_for_public_data(
    file_desk: Desk, credential: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """They are refused and not silently ignored, with a challenge, and repeated nowhere."""
    with caplog.at_level(logging.DEBUG):
        answer = file_desk.call.get(OPEN, headers={"Authorization": credential})
    assert answer.status_code == 401
    assert answer.json()["error"] == "Unauthenticated"
    assert answer.headers["www-authenticate"] == 'Bearer realm="microtome", error="invalid_token"'
    for words in (answer.text, caplog.text):
        assert "nonsense" not in words
        assert "b" * 43 not in words


def test_two_credentials_are_refused(file_desk: Desk) -> None:
    """Of two headers nobody could tell which one a proxy has looked at."""
    key = f"Bearer {file_desk.key(Role.READER)}"
    assert file_desk.get(OPEN, key, key).status_code == 401


def test_the_right_id_with_another_secret_is_401(file_desk: Desk) -> None:
    """The secret is compared whole."""
    key = file_desk.key(Role.READER)
    wrong = key[:-1] + ("a" if key[-1] != "a" else "b")
    for text in (wrong, key[:-1], f"{key}a", key.upper()):
        assert file_desk.get(OPEN, f"Bearer {text}").status_code == 401


def test_a_revoked_key_ends(desk: Desk) -> None:
    """From the next look at the database on it is 401."""
    key = f"Bearer {desk.key(Role.READER)}"
    assert desk.get(SECRET, key).status_code == 200
    desk.revoke(key.removeprefix("Bearer "))
    assert desk.get(SECRET, key).status_code == 401


def test_a_revoked_key_ends_within_seconds_however_long_the_store_is_believed(
    file_desk: Desk,
    run_server: Callable[..., Any],
) -> None:
    """A service that looks at the store once an hour looks at keys every other second."""
    key = file_desk.key(Role.READER)
    headers = {"Authorization": f"Bearer {key}"}
    with run_server(file_desk.store, database_url=file_desk.url, recheck_seconds=3600) as address:
        assert httpx.get(f"{address}{SECRET}", headers=headers).status_code == 200
        file_desk.revoke(key)
        end = time() + 5
        while httpx.get(f"{address}{SECRET}", headers=headers).status_code != 401:
            assert time() < end
            sleep(0.1)


def test_an_expired_key_ends_while_it_is_known(file_desk: Desk) -> None:
    """The end is looked at in every request."""
    key = f"Bearer {file_desk.key(Role.READER, seconds=3600)}"
    assert file_desk.get(SECRET, key).status_code == 200
    with file_desk.database.write() as connection:
        connection.execute(update(KEYS).values(expires=int(time()) - 1))
    assert file_desk.get(SECRET, key).status_code == 401


def test_when_a_key_was_used_is_kept_once_in_a_while(
    file_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first use is written, those of the next ten minutes are not."""
    written: list[int] = []
    kept = records.note_use
    monkeypatch.setattr(
        access.records,
        "note_use",
        lambda *a: (written.append(a[2]), kept(*a)),  # type: ignore[func-returns-value]
    )
    key = f"Bearer {file_desk.key(Role.READER)}"
    for _ in range(5):
        assert file_desk.get(SECRET, key).status_code == 200
    end = time() + 5
    while not written:
        assert time() < end
        sleep(0.01)
    assert file_desk.get(SECRET, key).status_code == 200
    assert len(written) == 1
    with file_desk.database.read() as connection:
        assert [k.used for k in records.read_keys(connection).values()] == written


def test_lists_and_pages_leave_out_what_may_not_be_seen(file_desk: Desk) -> None:
    """A private dataset is listed, and counted, for those alone who may see it."""
    key = f"Bearer {file_desk.key(Role.READER, 'demo/secret')}"
    for url in ("/api/datasets", "/api/datasets?q=secret", "/", "/?q=demo"):
        assert "demo/secret" not in file_desk.get(url).text
        assert "demo/secret" in file_desk.get(url, key).text
    assert file_desk.get("/api/datasets").json()["total"] == 1
    assert file_desk.get("/api/datasets", key).json()["total"] == 2


@pytest.mark.parametrize("path", ["secret", "secret/neurons", "secret/neurons/cutout"])
def test_what_is_hidden_takes_the_same_look_at_storage_as_what_is_absent(
    file_desk: Desk, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the time of an answer does not tell them apart, nor a failure of storage."""
    looks: list[str] = []
    for name in ("read", "children"):
        kept = getattr(Store, name)

        def look(store: Store, path: str = "", *, kept: Any = kept, name: str = name) -> Any:  # noqa: ANN401
            looks.append(f"{name} of depth {path.count('/')}")
            return kept(store, path)

        monkeypatch.setattr(Store, name, look)
    assert file_desk.get(f"/api/datasets/demo/{path}").status_code == 404
    hidden, looks[:] = list(looks), []
    absent = path.replace("secret", "absent")
    assert file_desk.get(f"/api/datasets/demo/{absent}").status_code == 404
    assert hidden == looks != []

    def fail(*_: object) -> None:
        raise StorageError("the disk is on fire")

    monkeypatch.setattr(Store, "children", fail)
    monkeypatch.setattr(Store, "read", fail)
    one, two = (file_desk.get(f"/api/datasets/demo/{p}") for p in (path, absent))
    assert one.status_code == two.status_code == 503
    assert one.text.replace("secret", "absent") == two.text


@pytest.mark.parametrize("path", ["", "/cutout?z=0:1", "/tiles/xy/0/0/0/0.png", "/thumbnail.png"])
def test_answers_to_those_with_credentials_are_not_for_shared_caches(
    file_desk: Desk, path: str
) -> None:
    """They say private and Vary: Authorization, a 304 too; those to anyone else do not."""
    key = {"Authorization": f"Bearer {file_desk.key(Role.READER)}"}
    answer = file_desk.call.get(f"{SECRET}{path}", headers=key)
    again = {**key, "If-None-Match": answer.headers["etag"]}
    same = file_desk.call.get(f"{SECRET}{path}", headers=again)
    assert (answer.status_code, same.status_code) == (200, 304)
    for each in (answer, same):
        control = [word.strip() for word in each.headers["cache-control"].split(",")]
        assert "private" in control
        assert "public" not in control
        assert "authorization" in each.headers["vary"].lower()
    anonymous = file_desk.get(f"{OPEN}{path}")
    assert "private" not in anonymous.headers["cache-control"]


def test_a_validator_opens_nothing(file_desk: Desk) -> None:
    """Whoever knows the ETag of a private answer gets 404 all the same, not 304."""
    key = f"Bearer {file_desk.key(Role.READER)}"
    etag = file_desk.get(f"{SECRET}/cutout", key).headers["etag"]
    for tag in (etag, "*"):
        answer = file_desk.call.get(f"{SECRET}/cutout", headers={"If-None-Match": tag})
        assert answer.status_code == 404


def test_scripts_of_other_origins_may_send_keys(file_desk: Desk) -> None:
    """A preflight for the header Authorization is allowed, cookies are not."""
    asked = {
        "Origin": "https://viewer.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    answer = file_desk.call("OPTIONS", SECRET, headers=asked)
    assert answer.status_code == 200
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in answer.headers


def test_the_description_says_that_credentials_may_be_sent(file_desk: Desk) -> None:
    """Any operation takes a bearer or nobody, and tells of 401; probes ask nobody."""
    document = file_desk.get("/openapi.json").json()
    (name,) = document["components"]["securitySchemes"]
    assert document["security"] == [{}, {name: []}]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            asks = not path.startswith(("/health/", "/metrics"))
            assert ("401" in operation["responses"]) == asks, path
            assert operation.get("security", document["security"]) == (
                document["security"] if asks else []
            )


def test_everything_may_be_private_by_default(
    make_desk: Callable[[str], Desk], tmp_path: Path
) -> None:
    """With that setting only what is set public may be read by anyone."""
    desk = make_desk(f"sqlite:///{tmp_path}/access.sqlite")
    desk.call = desk.connect(desk.store, database_url=desk.url, default_visibility="private")
    assert desk.get(OPEN).status_code == 404
    with desk.database.write() as connection:
        records.set_visibility(connection, "demo/open", True)
    assert desk.get(OPEN).status_code == 200
    assert desk.get(SECRET).status_code == 404


def test_without_a_database_all_is_as_by_default_and_nothing_is_made(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """A folder beside which no database lies is public, knows no keys, and stays alone."""
    make_builder(disk_store).layer("demo/open/neurons", "zyx", np.ones((3, 4, 5), "uint8"))
    folder = Path(disk_store.url.removeprefix("file://"))
    call = connect(disk_store)
    assert call.get(OPEN).status_code == 200
    key = {"Authorization": "Bearer mt_" + "a" * 12 + "_" + "b" * 43}
    assert call.get(OPEN, headers=key).status_code == 401
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_database_made_beside_a_folder_counts_from_then_on_and_its_loss_opens_nothing(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """A running service sees it; if it vanishes, what was private stays so."""
    make_builder(disk_store).layer("demo/secret/neurons", "zyx", np.ones((3, 4, 5), "uint8"))
    folder = Path(disk_store.url.removeprefix("file://"))
    call = connect(disk_store)
    assert call.get(SECRET).status_code == 200
    file = folder.with_name(f"{folder.name}.access.sqlite")
    with Database(f"sqlite:///{file}") as database:
        database.upgrade()
        with database.write() as connection:
            records.set_visibility(connection, "demo", False)
    assert call.get(SECRET).status_code == 404
    file.unlink()
    assert call.get(SECRET).status_code == 404


def test_without_its_server_public_data_is_served_and_credentials_are_503(
    make_desk: Callable[[str], Desk], postgres: "Cluster"
) -> None:
    """What was known counts on for anonymous callers; keys might be revoked; it recovers."""
    desk = make_desk(postgres.create())
    key = f"Bearer {desk.key(Role.READER)}"
    assert desk.get(SECRET, key).status_code == 200
    postgres.stop()
    try:
        assert desk.get(OPEN).status_code == 200
        assert desk.get(SECRET).status_code == 404
        answer = desk.get(SECRET, key)
        assert (answer.status_code, desk.get(OPEN, key).status_code) == (503, 503)
        assert "no-secret" not in answer.text
        assert desk.get("/health/ready").status_code == 200
        new = desk.connect(desk.store, database_url=desk.url)
        assert new.get(OPEN).status_code == 503
        assert new.get("/health/ready").status_code == 503
    finally:
        postgres.start()
    assert desk.get(SECRET, key).status_code == 200
    assert new.get(OPEN).status_code == 200


def test_what_was_known_is_not_used_for_ever(
    file_desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After its time public data is 503, too, until the database is back."""
    monkeypatch.setattr(access, "_PATIENCE", 0.3)
    call = file_desk.connect(file_desk.store, database_url=file_desk.url)
    assert call.get(OPEN).status_code == 200
    (tmp_path / "access.sqlite").rename(tmp_path / "away")
    assert call.get(OPEN).status_code == 200
    sleep(0.4)
    assert call.get(OPEN).status_code == 503
    (tmp_path / "away").rename(tmp_path / "access.sqlite")
    assert call.get(OPEN).status_code == 200


def test_a_service_refuses_to_start_without_the_database_that_it_was_told_of(
    tmp_path: Path,
) -> None:
    """A file that is named must be there, and be of a known version; an older one is renewed."""
    settings = Settings(root=str(tmp_path), database_url=f"sqlite:///{tmp_path}/a.sqlite")
    with pytest.raises(StorageError), closing_access(settings) as starting:
        starting.check()
    (tmp_path / "a.sqlite").touch()
    with closing_access(settings) as starting:
        starting.check()
    with Database(settings.database_url) as database:
        database.check()


def closing_access(settings: Settings) -> Any:  # noqa: ANN401 - a context manager
    """Return the part that tells who asks, closed at the end."""
    from contextlib import closing

    return closing(Access(settings, f"file://{settings.root}"))
