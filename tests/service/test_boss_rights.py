"""Who may do what through the BossDB API: every address, by every kind of caller."""

from collections.abc import Callable
from typing import Any

import blosc
import numpy as np
import pytest

from microtome_core.store.location import Store
from microtome_service.auth.roles import Role
from microtome_service.auth.rules import Rules
from microtome_service.principal import ANONYMOUS, Principal
from microtome_service.view import View

SECRET = "secret-project"
RULES = Rules(public={SECRET: False, "lab": True})
PRINCIPALS = {
    "anonymous": ANONYMOUS,
    "stranger": Principal("key:other", own={"demo": Role.ADMIN}),
    "reader": Principal("key:reader", own={SECRET: Role.READER}),
    "writer": Principal("key:writer", own={SECRET: Role.WRITER}),
    "admin": Principal("key:admin", own={SECRET: Role.ADMIN}),
}
BODY = bytes(blosc.compress(np.ones((1, 2, 3), "uint64"), typesize=8))
PLACE = f"{SECRET}/exp"
READS = [
    f"collection/{SECRET}",
    f"collection/{SECRET}/experiment",
    f"collection/{PLACE.replace('/', '/experiment/')}",
    f"collection/{PLACE.replace('/', '/experiment/')}/channel",
    f"collection/{PLACE.replace('/', '/experiment/')}/channel/seg",
    "coord/SECRET-FRAME",
    f"cutout/{PLACE}/seg/0/0:3/0:2/0:1/",
    f"ids/{PLACE}/seg/0/0:3/0:2/0:1/",
    f"downsample/{PLACE}/seg",
    f"meta/{SECRET}",
    f"meta/{PLACE}",
    f"meta/{PLACE}/seg",
    f"image/{PLACE}/em/xy/0/0:3/0:2/0",
    f"tile/{PLACE}/em/xy/16/0/0/0/0",
    f"permissions?collection={SECRET}&experiment=exp&channel=seg",
]
# Method, address, body, and what the least who may do it is.
WRITES = [
    ("POST", f"cutout/{PLACE}/seg/0/0:3/0:2/0:1/", BODY, "writer"),
    ("PUT", f"cutout/to_black/{PLACE}/seg/0/0:3/0:2/0:1/", b"", "writer"),
    ("GET", f"reserve/{PLACE}/seg/2", b"", "writer"),
    ("POST", f"downsample/{PLACE}/seg", b"", "writer"),
    ("POST", f"meta/{PLACE}?key=a&value=b", b"", "writer"),
    ("POST", f"meta/{PLACE}/seg?key=a&value=b", b"", "writer"),
    ("POST", f"meta/{SECRET}?key=a&value=b", b"", "writer"),
    ("PUT", f"collection/{SECRET}", b"{}", "writer"),
    ("PUT", f"collection/{SECRET}/experiment/exp", b"{}", "writer"),
    ("PUT", f"collection/{SECRET}/experiment/exp/channel/seg", b"{}", "writer"),
    ("POST", f"collection/{SECRET}/experiment/exp/channel/new",
     b'{"type": "image", "datatype": "uint8"}', "writer"),
    ("POST", f"collection/{SECRET}/experiment/new", b'{"coord_frame": "SECRET-FRAME"}', "writer"),
    ("DELETE", f"collection/{SECRET}/experiment/exp/channel/seg", b"", "admin"),
]  # fmt: skip
ORDER = ["reader", "writer", "admin"]


@pytest.fixture
def as_who(make_builder: Any, connect: Callable[..., Any]) -> Callable[[str], Any]:  # noqa: ANN401
    """Return what makes a caller of one store, in the name of one of `PRINCIPALS`."""
    store = Store("memory://rights")
    voxels = np.arange(24, dtype="uint8").reshape(2, 3, 4)
    make_builder(store).layer(f"{SECRET}/exp/em", "zyx", voxels)
    make_builder(store).layer("demo/brain/em", "zyx", voxels)
    mine = connect(store, anonymous_writes=True)
    frame = {"x_stop": 4, "y_stop": 3, "z_stop": 2, "z_voxel_size": 2, "y_voxel_size": 0.5,
             "x_voxel_size": 0.5, "voxel_unit": "micrometers"}  # fmt: skip
    made = (("coord/SECRET-FRAME", frame), (f"collection/{SECRET}/experiment/exp/channel/seg",
            {"type": "annotation", "datatype": "uint64"}),
            (f"collection/{SECRET}/experiment/other", {"coord_frame": "SECRET-FRAME"}))  # fmt: skip
    for url, body in made:
        assert mine("POST", f"/v1/{url}", json=body).status_code == 201, url

    def make(who: str) -> Any:  # noqa: ANN401
        call = connect(store)
        service = call.app.state.service

        async def view(_: object) -> View:
            return View(service.catalog, PRINCIPALS[who], RULES)

        service.view = view
        return call

    # As if one of them had created it: others see it with what it is used by.
    path = ".bossdb/coord/SECRET-FRAME.json"
    store.write(path, (store.read(path) or b"").replace(b"anonymous", b"key:writer"))
    return make


@pytest.mark.parametrize("who", PRINCIPALS)
def test_what_is_private_is_as_if_it_were_absent(as_who: Callable[[str], Any], who: str) -> None:
    """To all but those who may read it: the same answer as of something that is not there."""
    call, sees = as_who(who), who in ORDER
    for path in READS:
        answer = call.get(f"/v1/{path}")
        assert answer.status_code == (200 if sees else 404), (path, answer.text)
        if not sees:
            other = path.replace(SECRET, "absent-thing").replace("SECRET-FRAME", "ABSENT-FRAME")
            absent = call.get(f"/v1/{other}")
            assert absent.status_code == 404
            same = absent.text.replace("absent-thing", SECRET).replace(
                "ABSENT-FRAME", "SECRET-FRAME"
            )
            assert same == answer.text
    for path in ("collection", "coord", "permissions"):
        listed = call.get(f"/v1/{path}").text
        assert (SECRET in listed) == ((sees and path != "coord") or sees), path
        assert sees or "SECRET" not in listed


@pytest.mark.parametrize("who", PRINCIPALS)
def test_only_those_who_may_change_anything(as_who: Callable[[str], Any], who: str) -> None:
    """401 without credentials, 404 of what may not be seen, 403 of what may be seen and no more."""
    call = as_who(who)
    for method, path, body, least in WRITES:
        headers = {"Content-Type": "application/blosc" if body == BODY else "application/json"}
        answer = call(method, f"/v1/{path}", content=body, headers=headers)
        told = (method, path, answer.text)
        if who in ORDER and ORDER.index(who) >= ORDER.index(least):
            assert answer.status_code in (200, 201, 204), told
            continue
        # An experiment that is still to be created is no more to be seen than any that is absent.
        seen = (403, 404) if path.endswith("/new") else (403,)
        expected = {"anonymous": (401, 404), "stranger": (404,)}.get(who, seen)
        assert answer.status_code in expected, told
        assert answer.json()["code"] in (3000, 3001, 4000)


def test_permissions_are_those_that_hold(as_who: Callable[[str], Any]) -> None:
    """A reader may read, a writer add, an administrator delete; each in a group of their own."""
    for who, words in (("reader", "read"), ("writer", "add"), ("admin", "delete")):
        name = PRINCIPALS[who].name
        assert as_who(who).get("/v1/groups/").json()["groups"] == sorted(
            [f"{name}-primary", "public"]
        )
        found = as_who(who).get(f"/v1/permissions/?group={name}-primary").json()["permission-sets"]
        assert {each["experiment"] for each in found} == {"exp", "other"}
        assert all(words in each["permissions"] for each in found)
        own = as_who(who).get(f"/v1/sso/user/{name}").json()
        assert own["username"] == name
    channel = as_who("reader").get(f"/v1/collection/{SECRET}/experiment/exp/channel/seg").json()
    assert channel["public"] is False
    group = as_who("reader")("POST", "/v1/groups/new")
    assert (group.status_code, group.json()["code"]) == (403, 3001)


def test_a_frame_is_changed_by_who_created_it_or_administers_all(
    as_who: Callable[[str], Any],
) -> None:
    """Others may see it with the experiments that use it."""
    frame = "/v1/coord/SECRET-FRAME"
    assert as_who("admin")("PUT", frame, json={"description": "x"}).status_code == 403
    assert as_who("writer")("PUT", frame, json={"description": "x"}).status_code == 200
    assert as_who("reader")("POST", "/v1/coord/new", json={}).status_code == 403
    made = {"x_stop": 1, "y_stop": 1, "z_stop": 1}
    assert as_who("stranger")("POST", "/v1/coord/mine", json=made).status_code == 201
    assert as_who("stranger").get("/v1/coord/mine").status_code == 200
    assert as_who("writer").get("/v1/coord/mine").status_code == 404


def test_a_frame_that_anybody_created_is_hidden_with_the_experiment_that_uses_it(
    connect: Callable[..., Any],
) -> None:
    """Until one does, everybody sees it; who lets all write at first may not do so later."""
    store = Store("memory://frames")
    mine = connect(store, anonymous_writes=True)
    frame = {"x_stop": 4, "y_stop": 3, "z_stop": 2}
    for path, body in (
        ("coord/LATER", frame),
        (f"collection/{SECRET}", {}),
        (f"collection/{SECRET}/experiment/exp", {"coord_frame": "LATER"}),
        ("coord/UNUSED", frame),
    ):
        assert mine("POST", f"/v1/{path}", json=body).status_code == 201
    hidden = connect(store, default_visibility="private")
    assert hidden.get("/v1/coord").json() == {"coords": ["UNUSED"]}
    assert hidden.get("/v1/coord/LATER").status_code == 404
    assert "LATER" in connect(store).get("/v1/coord").json()["coords"]
