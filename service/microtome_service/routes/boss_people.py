"""Groups, permissions and users, in BossDB's words: what the caller may do, and no more.

Rights are given by this service's own keys and grants, and not through this API.
"""

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from microtome_core.errors import InputError, NotFound
from microtome_core.names import DatasetId
from microtome_service.auth.roles import Role
from microtome_service.errors import Forbidden, Unauthenticated
from microtome_service.principal import Principal
from microtome_service.routes.boss_call import Call, route
from microtome_service.routes.boss_resources import said

# As at BossDB: everybody is in this one, and has one of their own.
EVERYBODY = "public"
_READ = ("read", "read_volatile_data")
_WRITE = ("add", "update", "add_volatile_data")
_ADMINISTER = ("delete", "delete_volatile_data", "assign_group", "remove_group")


async def list_groups(call: Call) -> Response:
    """List the groups that the caller is in."""
    kind = call.query("filter").get("filter", "member")
    if kind not in ("member", "maintainer"):
        raise InputError(f"filter={kind[:40]!r}: expected member or maintainer")
    return said({"groups": groups_of(call.view.principal) if kind == "member" else []})


async def get_group(call: Call) -> Response:
    """Return a group that the caller is in; to others there is none."""
    name = _own_group(call)
    sets = [each for each in await _permission_sets(call) if each["group"] == name]
    return said({"name": name, "owner": "microtome", "resources": sets})


async def get_members(call: Call) -> Response:
    """List the members of a group, of which only the caller is told of, or ask for one."""
    name = _own_group(call)
    user, own = call.words.get("user"), call.view.principal.name
    part = call.request.url.path.rstrip("/").split("/")
    maintains = "maintainers" in part[-2:]
    if user is not None:
        return said({"result": user == own and not maintains})
    if name == f"{own}-primary" or maintains:
        return said({"maintainers": []} if maintains else {"members": [own]})
    raise Forbidden(f"{name}: who else is in a group is not told")


async def list_permissions(call: Call) -> Response:
    """List what the caller may do, by group and dataset."""
    query = call.query("group", "collection", "experiment", "channel")
    found = await _permission_sets(call)
    asked = {name: query[name] for name in ("group", "collection", "experiment") if name in query}
    kept = [each for each in found if asked.items() <= each.items()]
    if "channel" in query:
        # Rights are those of the dataset; of a channel that there is.
        where = (query.get("collection", ""), query.get("experiment", ""), query["channel"])
        await call.resources.channel(*where)
        kept = [{**each, "channel": query["channel"]} for each in kept]
    return said({"permission-sets": kept})


async def get_user(call: Call) -> Response:
    """Return the caller; of others nothing is told."""
    _check_own(call)
    name = call.view.principal.name
    return said({"username": name, "first_name": "", "last_name": "", "email": ""})


async def get_roles(call: Call) -> Response:
    """Return the caller's roles in the service as a whole: none, for rights are by dataset."""
    _check_own(call)
    return said([])


async def refuse(call: Call) -> Response:
    """Refuse to change rights."""
    if call.view.principal.anonymous:
        raise Unauthenticated("this needs a key or a sign-in: send Authorization: Token …")
    raise Forbidden("rights are given by microtome's own keys and grants, not through this API")


def groups_of(principal: Principal) -> list[str]:
    """Return the groups of a principal."""
    own = [] if principal.anonymous else [f"{principal.name}-primary"]
    return sorted({EVERYBODY, *own, *principal.groups})


def _own_group(call: Call) -> str:
    name = call.words["group"]
    if name not in groups_of(call.view.principal):
        raise NotFound(f"no group {name[:80]!r}")
    return name


def _check_own(call: Call) -> None:
    if call.view.principal.anonymous or call.words["user"] != call.view.principal.name:
        raise NotFound(f"no user {call.words['user'][:80]!r}")


async def _permission_sets(call: Call) -> list[dict[str, Any]]:
    found = []
    for dataset in await call.view.datasets():
        if call.is_public(dataset):
            found.append(_set(EVERYBODY, dataset, Role.READER))
        role = call.view.rules.role(call.view.principal, dataset)
        if role > Role.NONE:
            found.append(_set(f"{call.view.principal.name}-primary", dataset, role))
    return found


def _set(group: str, dataset: DatasetId, role: Role) -> dict[str, Any]:
    permissions = [
        *(_READ if role >= Role.READER else ()),
        *(_WRITE if role >= Role.WRITER else ()),
        *(_ADMINISTER if role >= Role.ADMIN else ()),
    ]
    return {
        "group": group,
        "collection": dataset.collection,
        "experiment": dataset.dataset,
        "permissions": permissions,
    }


_CHANGES = ("POST", "PUT", "PATCH", "DELETE")


def routes() -> list[Route]:
    """Return the routes."""
    members, maintainers = "/groups/{group}/members", "/groups/{group}/maintainers"
    readable = [
        ("/groups", list_groups),
        ("/groups/{group}", get_group),
        (members, get_members),
        (f"{members}/{{user}}", get_members),
        (maintainers, get_members),
        (f"{maintainers}/{{user}}", get_members),
        ("/permissions", list_permissions),
        ("/sso/user/{user}", get_user),
        ("/sso/user-role/{user}", get_roles),
    ]
    changing = [*(path for path, _ in readable), "/sso/user-role/{user}/{role}"]
    return [
        *(route(path, handler) for path, handler in readable),
        *(route(path, refuse, *_CHANGES) for path in changing),
    ]
