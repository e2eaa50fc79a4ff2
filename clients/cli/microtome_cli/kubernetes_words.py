"""What users say of pods, as Kubernetes takes it: names, volumes, variables."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from microtome_core.errors import InputError

# What objects are called: of those that name pods or folders, and of all others.
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_LONGEST = {_LABEL: 63, _SUBDOMAIN: 253}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)
# Variables that say which part of a Job a pod does, and which worker it is.
_GIVEN = ("JOB_COMPLETION_INDEX", "DASK_SCHEDULER_ADDRESS", "DASK_WORKER_NAME")
# Where pods have what is not of a volume: the program, its temporary files, its metadata.
_TAKEN = ("/", "/tmp", "/etc", "/etc/microtome", "/opt", "/opt/microtome")  # noqa: S108
# Parts of an indexed Job whose failures are counted each by itself, and pods of it at once.
MOST_PARTS, MOST_PODS = 100_000, 10_000


def check_name(text: str, option: str, longest: int = 63) -> None:
    """Raise InputError for what names no Job or namespace."""
    _check(text, option, _LABEL, longest, "a-z, 0-9 and '-'")


def check_object(text: str, option: str) -> None:
    """Raise InputError for what names no Secret, ConfigMap, claim or account."""
    _check(text, option, _SUBDOMAIN, _LONGEST[_SUBDOMAIN], "a-z, 0-9, '-' and '.'")


def _check(text: str, option: str, form: re.Pattern[str], longest: int, letters: str) -> None:
    if len(text) > longest or not form.fullmatch(text):
        raise InputError(
            f"{option} {text[:80]!r}: expected up to {longest} of {letters}, as Kubernetes"
        )


def mounts(texts: Iterable[str]) -> dict[str, str]:
    """Read volumes as they are given, ``CLAIM:/PATH``.

    Returns
    -------
    dict of str to str
        The claim that is seen at each path; one claim may be seen at several.

    Raises
    ------
    InputError
        No such pair, a name that no claim has, or a path that is relative, taken or given twice.

    Examples
    --------
    >>> mounts(["raw:/in", "raw:/out/"])
    {'/in': 'raw', '/out': 'raw'}
    """
    found: dict[str, str] = {}
    for text in texts:
        claim, path = pair(text, ":", "--volume CLAIM:/PATH")
        check_object(claim, "--volume")
        place = str(PurePosixPath(path))
        if not path.startswith("/") or ":" in path or ".." in PurePosixPath(path).parts:
            raise InputError(
                f"--volume {text[:80]}: expected CLAIM:/PATH, a whole path without ':'"
            )
        if place in _TAKEN:
            raise InputError(f"--volume {text[:80]}: {place} is the pod's own: choose another path")
        if found.setdefault(place, claim) != claim:
            raise InputError(f"--volume: both {found[place]} and {claim} are to be at {place}")
    return found


def variable(text: str) -> tuple[str, str]:
    """Read ``NAME=VALUE``.

    Raises
    ------
    InputError
        No variable, one that pods are given anyway, or a secret in the open.
    """
    name, value = pair(text, "=", "--env NAME=VALUE")
    if not _VARIABLE.fullmatch(name):
        raise InputError(f"--env {name[:80]!r}: expected the name of a variable")
    if name in _GIVEN:
        raise InputError(f"--env {name}: pods are told this by the cluster")
    if _SECRET.search(name):
        raise InputError(
            f"--env {name}: whoever may read the Job could read it; put it into a Secret and name "
            "that by --secret"
        )
    return name, value


def check_seen(path: str, seen: Mapping[str, str]) -> None:
    """Raise InputError for a file or folder that pods do not see.

    `seen`: as `mounts` returns them.
    """
    scheme, _, rest = path.rpartition("://")
    if scheme == "memory":
        raise InputError(f"{path}: pods cannot see it; expected s3:// or a folder of a --volume")
    if scheme not in ("", "file"):
        return
    if not any(PurePosixPath(rest).is_relative_to(mount) for mount in seen):
        raise InputError(
            f"{path}: pods do not see this machine's files; give an address such as s3://, or "
            "--volume CLAIM:/PATH with a PATH that holds it"
        )


def pair(text: str, mark: str, expected: str) -> tuple[str, str]:
    """Split a text at a mark; InputError says what was expected."""
    name, found, value = text.partition(mark)
    if not (name and found and value):
        raise InputError(f"{text[:80]!r}: expected {expected}")
    return name, value
