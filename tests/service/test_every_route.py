"""Every route for everyone and every kind of dataset: who gets what, and that nothing leaks.

Routes are found in the app itself, and examples of their addresses are in tests/route_examples.py.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from sqlalchemy import update

from microtome_core.store.location import Store
from microtome_service.auth import records
from microtome_service.auth.database import Database
from microtome_service.auth.models import KEYS
from microtome_service.auth.roles import Role
from tests.asgi import ask
from tests.recording_made import make_recording
from tests.route_examples import Operation, operations

PUBLIC = "demo/public7a"
# Each private dataset, and one that is absent, whose name is as long.
PRIVATE = {"demo/hidden7a": "demo/absent7a", "closed7a/brain": "vacant7a/brain"}
DATASETS = (PUBLIC, *PRIVATE)
NOBODY = ("anonymous", "public token")
REFUSED = ("nonsense", "expired", "revoked", "wrong secret")
ROLES = {"reader": Role.READER, "writer": Role.WRITER, "admin": Role.ADMIN}
# They say nothing of any dataset, and ask nobody who they are.
OPEN = ("/health/live", "/health/ready", "/docs", "/openapi.json", "/metrics")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str

    def without(self, dataset: str) -> "Answer":
        """Return the same with the name asked for left out."""
        collection, _, name = dataset.partition("/")
        text = self.text
        for word in (dataset, collection, name):
            text = text.replace(word, "…")
        return Answer(self.status, self.headers, text)


class World:
    """An app of all kinds of datasets, and the credentials of all kinds of callers."""

    def __init__(self, app: FastAPI, url: str) -> None:
        self.app = app
        self._runner = asyncio.Runner()
        with Database(url) as database, database.write() as connection:
            records.set_visibility(connection, "demo/hidden7a", False)
            records.set_visibility(connection, "closed7a", False)
            self._make_keys(connection)

    def _make_keys(self, connection: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        def key(role: Role, place: str) -> str:
            return records.create_key(connection, "test", role, place, None)[1]

        self.keys = {(w, d): key(role, d) for w, role in ROLES.items() for d in DATASETS}
        self.elsewhere = key(Role.ADMIN, "demo/another")
        self.ended = {word: key(Role.ADMIN, "*") for word in ("expired", "revoked")}
        for word, column in (("expired", KEYS.c.expires), ("revoked", KEYS.c.revoked)):
            own = KEYS.c.id == self.ended[word].split("_")[1]
            connection.execute(update(KEYS).where(own).values({column: 1}))

    def headers(self, who: str, dataset: str) -> dict[str, str]:
        """Return what a caller sends, whose role is in `dataset`."""
        if who == "anonymous":
            return {}
        secrets = {
            "public token": "public",
            "nonsense": "nonsense",
            "elsewhere": self.elsewhere,
            "wrong secret": f"{self.keys['admin', PUBLIC][:-43]}{'a' * 43}",
            **self.ended,
        }
        secret = secrets.get(who) or self.keys[who, dataset]
        return {"Authorization": f"{'Token' if who == 'public token' else 'Bearer'} {secret}"}

    def ask(self, operation: Operation, who: str, role_in: str, dataset: str) -> Answer:
        """Return the answer about `dataset` to a caller whose role, if any, is in `role_in`."""
        headers = self.headers(who, role_in)
        if operation.body is not None:
            headers = {**headers, "Content-Type": "application/json"}
        url = operation.address(dataset)
        answer = self._runner.run(
            ask(self.app, operation.method, url, headers=headers, content=operation.body)
        )
        kept = {k: v for k, v in answer.headers.items() if k not in ("date", "x-request-id")}
        return Answer(answer.status_code, kept, answer.text)

    def close(self) -> None:
        """End the service and the loop."""
        self.app.state.service.close()
        self._runner.close()


@pytest.fixture(scope="module")
def make_world(
    tmp_path_factory: pytest.TempPathFactory, make_builder: Callable[..., Any]
) -> Iterator[Callable[[], World]]:
    """What makes a world; whatever was written in another is not in it."""
    from microtome_service.app import create_app
    from microtome_service.settings import Settings

    worlds: list[World] = []

    def make() -> World:
        url = f"sqlite:///{tmp_path_factory.mktemp('world') / 'access.sqlite'}"
        with Database(url) as database:
            database.upgrade()
        store = Store("memory://world")
        voxels = np.arange(60, dtype="uint8").reshape(3, 4, 5)
        for dataset in DATASETS:
            make_builder(store).layer(f"{dataset}/neurons", "zyx", voxels)
            make_recording(store, f"{dataset}/mouse")
        worlds.append(World(create_app(Settings(root=store.url, database_url=url), store), url))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


@pytest.fixture(scope="module")
def world(make_world: Callable[[], World]) -> World:
    """A world in which nobody writes."""
    return make_world()


def reading(world: World) -> list[Operation]:
    """Return every operation that changes nothing."""
    return [o for o in operations(world.app) if not o.writes]


def sees(who: str, role_in: str, dataset: str) -> bool:
    """Tell whether a caller may see a dataset."""
    return dataset == PUBLIC or (who in ROLES and role_in == dataset)


def test_the_walk_finds_what_is_known_to_be_there(world: World) -> None:
    """Routes of the app and of its routers are found, with all methods."""
    found = {(o.method, o.template) for o in operations(world.app)}
    layer = "/api/datasets/{collection}/{dataset}/{layer}"
    assert {("GET", layer), ("HEAD", f"{layer}/cutout"), ("GET", "/"), ("GET", "/docs")} <= found


@pytest.mark.parametrize("who", REFUSED)
def test_credentials_that_do_not_hold_get_401_everywhere(world: World, who: str) -> None:
    """Of every dataset, there or not, public or not, in the same words."""
    for operation in operations(world.app):
        if operation.template not in OPEN and operation.method != "OPTIONS":
            answers = [world.ask(operation, who, PUBLIC, d) for d in (*DATASETS, "no/such")]
            assert {answer.status for answer in answers} == {401}, operation
            assert len({answer.text for answer in answers}) == 1, operation


@pytest.mark.parametrize("who", [*NOBODY, "elsewhere", *ROLES])
def test_everyone_reads_what_they_may_see_and_nothing_else(world: World, who: str) -> None:
    """What may be seen is answered; all else is 404."""
    wrong = []
    for operation in reading(world):
        if operation.of_dataset and operation.method != "OPTIONS":
            for dataset in DATASETS:
                answer = world.ask(operation, who, dataset, dataset)
                seen = sees(who, dataset, dataset) and not operation.not_there
                wanted = answer.status < 400 or (operation.unfit and answer.status == 400)
                good = wanted if seen else answer.status == 404
                if not good:
                    wrong.append((str(operation), dataset, answer.status, answer.text[:200]))
    assert wrong == []


@pytest.mark.parametrize("who", [*NOBODY, "elsewhere", *ROLES])
def test_private_is_answered_like_absent(world: World, who: str) -> None:
    """Status, headers and body are the same byte for byte, but for the name asked for.

    Whoever has a role has it in the other private dataset.
    """
    wrong = []
    for private, absent in PRIVATE.items():
        (other,) = PRIVATE.keys() - {private}
        for operation in operations(world.app):
            if operation.of_dataset or (operation.of_collection and private.startswith("closed")):
                one = world.ask(operation, who, other, private).without(private)
                two = world.ask(operation, who, other, absent).without(absent)
                if one != two:
                    wrong.append((str(operation), private, one, two))
    assert wrong == []


@pytest.mark.parametrize("who", [*NOBODY, "elsewhere", *ROLES])
def test_lists_pages_and_descriptions_name_nothing_private(world: World, who: str) -> None:
    """A private dataset is named to those alone who may see it."""
    named = set()
    for operation in operations(world.app):
        if operation.of_dataset or operation.writes or operation.method == "HEAD":
            continue
        for private in PRIVATE:
            (other,) = PRIVATE.keys() - {private}
            answer = world.ask(operation, who, private, PUBLIC)
            word = next(part for part in other.split("/") if "7a" in part)
            assert word not in answer.text, operation
            assert answer.status < 500, operation
            own = next(part for part in private.split("/") if "7a" in part)
            if own in answer.text:
                named.add(operation.url)
    assert ("/api/datasets" in named) == (who in ROLES)
    assert named.isdisjoint(OPEN)


def test_only_those_who_may_write_do(make_world: Callable[[], World]) -> None:
    """To write anonymously is 401, with too small a role 403; what may not be seen is 404.

    Of what may not be seen an anonymous caller may be told 401, too, if it is told of the absent.
    """
    world = make_world()
    wrong = []
    for operation in operations(world.app):
        if not operation.writes or not operation.of_dataset:
            continue
        for who in (*NOBODY, "elsewhere", "reader"):
            for dataset in DATASETS:
                answer = world.ask(operation, who, dataset, dataset)
                expected = [403] if sees(who, dataset, dataset) else [404]
                if who in NOBODY:
                    expected = [401] if dataset == PUBLIC else [401, 404]
                if answer.status not in expected:
                    wrong.append((str(operation), who, dataset, answer.status, answer.text[:200]))
    assert wrong == []


@pytest.mark.slow
def test_those_who_may_write_are_not_turned_away(make_world: Callable[[], World]) -> None:
    """A writer, or an administrator where only these may, gets past all checks of rights."""
    wrong = []
    for operation in operations(make_world().app):
        if operation.writes and operation.of_dataset:
            for dataset in DATASETS:
                answers = {w: make_world().ask(operation, w, dataset, dataset) for w in ("admin",)}
                wrong += [
                    (str(operation), who, dataset, answer.status)
                    for who, answer in answers.items()
                    if answer.status in (401, 403, 404) or answer.status >= 500
                ]
    assert wrong == []


def test_a_route_without_an_example_is_an_error() -> None:
    """Whoever adds a word to paths says what stands for it."""
    app = FastAPI()

    async def answer() -> None:
        """Do nothing."""

    app.add_api_route("/api/{collection}/{unheard_of}", answer)
    with pytest.raises(LookupError, match="unheard_of"):
        operations(app)


def test_no_answer_is_ever_run_as_a_program(world: World) -> None:
    """Of every route, failures too: nothing is sniffed, and a policy forbids all that is not said.

    Pages have a policy of their own, without anything inline or from elsewhere.
    """
    seen = {"page": 0, "data": 0}
    for operation in operations(world.app):
        headers = world.ask(operation, "anonymous", PUBLIC, PUBLIC).headers
        assert headers["x-content-type-options"] == "nosniff", operation
        assert headers["referrer-policy"] == "same-origin", operation
        if operation.template.startswith("/static"):
            continue
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy, operation
        assert "frame-ancestors" in policy, operation
        page = headers.get("content-type", "").startswith("text/html")
        assert page or "sandbox" in policy, operation
        assert not page or "unsafe-inline" not in policy, operation
        seen["page" if page else "data"] += 1
    assert seen["page"] > 5
    assert seen["data"] > 100
