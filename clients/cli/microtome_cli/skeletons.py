"""SWC skeletons in ``ingest`` and ``info``: kept as annotations of a dataset."""

import argparse
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from microtome_cli.engines import view
from microtome_cli.options import storage_options
from microtome_cli.progress import ProgressObserver
from microtome_core.addresses import without_secrets
from microtome_core.errors import Conflict, InputError
from microtome_core.names import LayerId
from microtome_core.store.annotations import Annotation, annotation_path, write_annotation
from microtome_core.store.location import StorageOptions, Store
from microtome_core.swc import type_name
from microtome_ingest.files import Files, name_of, plain
from microtome_ingest.swc import (
    ENDING,
    Skeleton,
    annotation,
    content_of,
    missing,
    parse,
    skeletons,
)

# Options that say something of voxels.
_OF_IMAGES = (
    "axes", "voxel_size", "time_step", "channels", "colors", "scene", "labels_of", "chunk", "shard",
    "levels", "array_index",
)  # fmt: skip
_ODD = re.compile(r"[^a-z0-9._-]+")


def skeletons_of(path: str, options: StorageOptions) -> tuple[str, ...]:
    """Return the SWC files that a source means; none where it is something else."""
    return skeletons(plain(path), Files(options))


def keep(
    arguments: argparse.Namespace, paths: Sequence[str], started: str | None
) -> list[tuple[str, bool]]:
    """Check all skeletons, then store each and say so; return their names, and which are new.

    Raises
    ------
    InputError
        A skeleton that is none, an option that is for images, or nobody says in which unit.
    Conflict
        Another one is there.
    """
    found = checked(arguments, paths, started)
    store, kept = Store(arguments.root, storage_options(arguments)), []
    for target, content, info in found:
        new = write_annotation(store, target, content, info, replace=arguments.restart)
        with ProgressObserver(str(target), view(arguments, str(target))) as observer:
            _say(observer, target, info, store.url, new=new)
        kept.append((str(target), new))
    return kept


def checked(
    arguments: argparse.Namespace, paths: Sequence[str], started: str | None
) -> list[tuple[LayerId, bytes, Annotation]]:
    """Return each skeleton with its name and what is said of it; raises InputError as `keep`."""
    _check_options(arguments, paths[0])
    root = LayerId.parse(arguments.layer)
    folder = len(paths) > 1 or not name_of(plain(arguments.source)).lower().endswith(ENDING)
    names = _names(root, paths) if folder else [root]
    files = Files(storage_options(arguments))
    created = started or datetime.now(UTC).isoformat(timespec="seconds")
    found = []
    for target, path in zip(names, paths, strict=True):
        content = content_of(path, files)
        info = annotation(content, parse(content, path), path, arguments.unit, created)
        found.append((target, content, info))
    return found


def _check_options(arguments: argparse.Namespace, path: str) -> None:
    given = [name for name in _OF_IMAGES if getattr(arguments, name, None) is not None]
    if arguments.kind not in (None, "image"):
        given.append("kind")
    if given:
        option = given[0].replace("_", "-")
        raise InputError(f"--{option}: {without_secrets(path)} is a skeleton and has no voxels")


def _say(
    observer: ProgressObserver, target: LayerId, info: Annotation, root: str, *, new: bool
) -> None:
    """Print what became of a skeleton."""
    for note in info.notes:
        observer.result("note", f"note: {note}")
    verb = "wrote" if new else "nothing to do, the same is there:"
    text = f"{verb} {annotation_path(target)}: {_summary(info.nodes, info.roots)}"
    facts = {"written": new, "annotation": info.model_dump(mode="json")}
    observer.result("done", f"{text}, below {root}", **facts)


def tell(paths: Sequence[str], options: StorageOptions) -> list[dict[str, Any]]:
    """Return what skeletons say of themselves, JSON-able."""
    files = Files(options)
    return [_told(path, parse(content_of(path, files), path)) for path in paths]


def text_of(told: Sequence[dict[str, Any]]) -> str:
    """Return what `tell` gave as lines for a terminal."""
    if len(told) > 1:
        lines = [
            f"  {name_of(one['file'])}: {_summary(one['nodes'], one['roots'])}" for one in told
        ]
        reasons = dict.fromkeys(reason for one in told for reason in one["missing"])
        lines += [f"missing: {reason}" for reason in reasons]
        return "\n".join([f"{len(told)} skeletons, each becomes an annotation:", *lines])
    one = told[0]
    types = ", ".join(f"{type_name(int(kind))} {count}" for kind, count in one["types"].items())
    unit = "" if one["unit"] is None else f"{one['unit_factor']:g} × {one['unit']}"
    box = " × ".join(f"{low:g} to {high:g}" for low, high in zip(*one["bounding_box"], strict=True))
    rows = [
        ("format", "SWC skeleton"),
        ("file", one["file"]),
        ("nodes", one["nodes"]),
        ("roots", one["roots"]),
        ("types", types),
        ("box (x y z)", box),
        ("unit", unit.removeprefix("1 × ")),
        *[("note", note) for note in one["notes"]],
        *[("missing", reason) for reason in one["missing"]],
    ]
    return "\n".join(f"{name:<11} {text}" for name, text in rows if text != "")


def _told(path: str, found: Skeleton) -> dict[str, Any]:
    return {
        "format": "SWC skeleton",
        "file": without_secrets(path),
        "nodes": found.nodes,
        "roots": found.roots,
        "types": {str(kind): count for kind, count in found.types.items()},
        "bounding_box": [list(found.low), list(found.high)],
        "unit": found.unit,
        "unit_factor": found.factor,
        "notes": list(found.notes),
        "missing": [reason for reason in [missing(found)] if reason],
    }


def _names(root: LayerId, paths: Sequence[str]) -> list[LayerId]:
    """Return a name for each file of a folder: that of the user and that of the file."""
    found: dict[str, str] = {}
    for path in paths:
        stem = _ODD.sub("-", name_of(path)[: -len(ENDING)].lower()).strip("-")
        name = f"{root.layer}-{stem}"
        if name in found:
            raise Conflict(f"{path} and {found[name]} would both be {name}: give them one by one")
        found[name] = path
    return [LayerId(root.collection, root.dataset, name) for name in found]


def _summary(nodes: int, roots: int) -> str:
    return f"skeleton of {nodes} nodes, {roots} {'root' if roots == 1 else 'roots'}"
