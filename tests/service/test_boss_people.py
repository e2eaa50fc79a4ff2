"""Groups and permissions say what the caller may do, and nothing of others."""

from typing import Any

import pytest

from microtome_core.store.location import Store


@pytest.fixture
def call(make_builder: Any, make_ramp: Any, connect: Any) -> Any:  # noqa: ANN401
    """A caller of a store with one small layer."""
    store = Store("memory://people")
    make_builder(store).layer("demo/brain/em", "zyx", make_ramp((2, 3, 4), "uint8"))
    return connect(store)


def test_anonymous_callers_are_in_the_group_of_everybody(call: Any) -> None:  # noqa: ANN401
    """It may read what is public."""
    assert call.get("/v1/groups/").json() == {"groups": ["public"]}
    assert call.get("/v1/groups/?filter=maintainer").json() == {"groups": []}
    expected = {
        "group": "public",
        "collection": "demo",
        "experiment": "brain",
        "permissions": ["read", "read_volatile_data"],
    }
    for query in ("", "?group=public", "?collection=demo", "?collection=demo&experiment=brain"):
        assert call.get(f"/v1/permissions/{query}").json() == {"permission-sets": [expected]}
    one = call.get("/v1/permissions/?collection=demo&experiment=brain&channel=em").json()
    assert one == {"permission-sets": [{**expected, "channel": "em"}]}
    assert call.get("/v1/permissions/?group=none").json() == {"permission-sets": []}
    assert call.get("/v1/permissions/?collection=demo&experiment=x&channel=em").status_code == 404
    group = call.get("/v1/groups/public").json()
    assert (group["name"], group["resources"]) == ("public", [expected])


@pytest.mark.parametrize("path", ["groups/new", "permissions", "sso/user/me", "groups/g/members/me",
                                  "sso/user-role/me/admin", "groups/g/maintainers/me"])  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
def test_rights_are_not_given_through_this_api(
    call: Any,  # noqa: ANN401 - the folder's own class
    path: str,
    method: str,
) -> None:
    """Whoever tries is told to show who they are; nothing changes."""
    answer = call(method, f"/v1/{path}", json={"group": "public", "permissions": ["add"]})
    assert (answer.status_code, answer.json()["code"]) == (401, 3000)
    assert "www-authenticate" in answer.headers


def test_nobody_is_told_of_others(call: Any) -> None:  # noqa: ANN401 - the folder's own class
    """Neither members of groups nor users, and words that are none are refused."""
    assert call.get("/v1/groups/public/members").status_code == 403
    assert call.get("/v1/groups/public/members/somebody").json() == {"result": False}
    assert call.get("/v1/groups/public/maintainers").json() == {"maintainers": []}
    assert call.get("/v1/sso/user/anonymous").status_code == 404
    assert call.get("/v1/sso/user-role/anonymous").status_code == 404
    assert call.get("/v1/groups/?filter=all").status_code == 400
