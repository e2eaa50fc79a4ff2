"""What a folder of trials holds, from its names and the heads of its arrays; no value is read."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from microtome_core.errors import SourceError
from microtome_ingest.files import Files, Stamp, is_remote, name_of
from microtome_ingest.recordings.heads import MOST_HEAD, Head, parse_head
from microtome_ingest.sources.parallel import run
from microtome_ingest.sources.trials_facts import time_step
from microtome_ingest.sources.trials_tree import (
    GROUPS,
    MOST_META,
    Tree,
    array_of,
    groups_of,
    natural,
    tree_of,
)

RESPONSES = "responses"
TIERS = "meta/trials/tiers.npy"
NEURONS = "meta/neurons/"
# The published data sets have this rate throughout (Turishcheva et al. 2023, arXiv:2305.19654).
RATE = 30.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_REQUESTS = 16
_MOST_NAMED = 12
_MOST_ARRAY = 4 << 30


@dataclass(frozen=True, slots=True)
class Survey:
    """A folder of trials.

    Parameters
    ----------
    tree : Tree
    files : Files
    numbers, names : tuples
        Of the trials: the number of each, and the name of its files.
    groups : dict
        By group and index of a trial: the head of its array.
    tiers : tuple of str or None
    columns : dict
        Other facts of each trial, one entry a trial.
    neurons : int or None
        Rows of the responses.
    rate : float
        Frames a second.
    kept : dict
        Bytes of the files that are kept as they are.
    not_kept, notes : tuple of str
    """

    tree: Tree
    files: Files
    numbers: tuple[int, ...]
    names: tuple[str, ...]
    groups: Mapping[str, Mapping[int, Head]]
    tiers: tuple[str | None, ...]
    columns: Mapping[str, list[Any]]
    neurons: int | None
    rate: float
    kept: Mapping[str, int]
    not_kept: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def file(self, group: str, index: int) -> str:
        """Return the path of an array below the folder."""
        return f"data/{group}/{self.names[index]}.npy"

    @property
    def stamps(self) -> dict[str, Stamp]:
        """The files of the source, or its zip, as they were when they were looked at."""
        arrays = [self.file(group, i) for group, heads in self.groups.items() for i in heads]
        places = {place for name in (*arrays, *self.kept) for place in self.tree.files(name)}
        return self.files.stamps(sorted(places))

    @property
    def name(self) -> str:
        """The name of the folder or zip."""
        return name_of(self.tree.path)


def survey(path: str, files: Files, rate: float | None = None) -> Survey:
    """Look at a folder or zip of trials.

    Parameters
    ----------
    rate : float, optional
        Frames a second, over what ``config.json`` says.

    Raises
    ------
    SourceError
        No trials, or arrays that are damaged; all of them are named.
    """
    tree = tree_of(path, files)
    sizes = tree.sizes()
    with tree.held():
        groups = {name: trials for name, trials in groups_of(tree).items() if _NAME.fullmatch(name)}
        heads = _heads(tree, groups, sizes)
        names = _trial_names(tree, heads)
        tiers, columns, told = _meta(tree, sizes, names)
        numbers = tuple(names)
        index = {name: i for i, name in enumerate(names.values())}
        placed = {
            group: {index[trial]: head for trial, head in found.items()}
            for group, found in heads.items()
        }
        known = _rate(tree, rate)
    kept, not_kept = _others(sizes, placed, tuple(names.values()))
    return Survey(
        tree=tree,
        files=files,
        numbers=numbers,
        names=tuple(names.values()),
        groups=placed,
        tiers=tiers,
        columns=columns,
        neurons=_neurons(placed),
        rate=known,
        kept=kept,
        not_kept=not_kept,
        notes=(*told, *_uneven(placed, tuple(names.values()))),
    )


def _heads(
    tree: Tree, groups: Mapping[str, tuple[str, ...]], sizes: Mapping[str, int]
) -> dict[str, dict[str, Head]]:
    """Return the head of every array of the groups that are recorded; name all that are damaged."""
    found: dict[str, dict[str, Head]] = {group: {} for group in groups}
    faults: dict[str, str] = {}

    def look(group: str, trial: str) -> None:
        name = f"data/{group}/{trial}.npy"
        try:
            head = parse_head(tree.read(name, MOST_HEAD), f"{tree.path}/{name}")
            _check(head, trial, sizes[name], f"{tree.path}/{name}")
            found[group][trial] = head
        except SourceError as error:
            faults[name] = error.reason

    jobs = [partial(look, group, trial) for group, trials in groups.items() for trial in trials]
    run(jobs, _REQUESTS if is_remote(tree.path) else None)
    # What the data sets do not have is none of ours where it is no array of trials.
    foreign = {name.split("/")[1] for name in faults} - {*GROUPS}
    faults = {name: why for name, why in faults.items() if name.split("/")[1] in GROUPS}
    if faults:
        listing = "; ".join(f"{name}: {why}" for name, why in [*faults.items()][:_MOST_NAMED])
        more = f"; and {len(faults) - _MOST_NAMED} more" if len(faults) > _MOST_NAMED else ""
        raise SourceError(tree.path, f"{len(faults)} damaged arrays: {listing}{more}")
    return {group: heads for group, heads in found.items() if heads and group not in foreign}


def _check(head: Head, trial: str, size: int, where: str) -> None:
    if head.size != size:
        word = "truncated" if size < head.size else "longer than it says"
        raise SourceError(where, f"has {size} bytes, its head claims {head.size}: {word}")
    if head.dtype.kind not in "biuf" or head.dtype.itemsize > 8:
        raise SourceError(where, f"dtype {head.dtype}: expected numbers of up to 64 bits")
    if len(head.shape) < 2 or 0 in head.shape[:-1]:
        raise SourceError(where, f"shape {head.shape}: expected rows and time, none of them empty")
    if size > _MOST_ARRAY:
        raise SourceError(where, f"has {size} bytes: expected {_MOST_ARRAY} at most in one trial")
    if not trial.isdigit() or len(trial) > 9:
        raise SourceError(where, "is not named by the number of a trial")


def _trial_names(tree: Tree, heads: Mapping[str, Mapping[str, Head]]) -> dict[int, str]:
    """Return the name of each trial's files by its number, in the order of numbers."""
    every = {trial for found in heads.values() for trial in found}
    if not every:
        raise SourceError(tree.path, "has no trials: expected data/GROUP/NUMBER.npy")
    names: dict[int, str] = {}
    for name in sorted(every, key=natural):
        if names.setdefault(int(name), name) != name:
            raise SourceError(tree.path, f"{names[int(name)]}.npy and {name}.npy are one number")
    return dict(sorted(names.items()))


def _meta(
    tree: Tree, sizes: Mapping[str, int], names: Mapping[int, str]
) -> tuple[tuple[str | None, ...], dict[str, list[Any]], tuple[str, ...]]:
    """Return tiers, the other columns of trials, and notes."""
    columns: dict[str, list[Any]] = {}
    notes = []
    for name in sizes:
        if not name.startswith("meta/trials/") or not name.endswith(".npy"):
            continue
        try:
            values = array_of(tree, name)
        except SourceError as error:
            notes.append(f"{name} is kept, but is not read: {error.reason}")
            continue
        if values.ndim != 1 or values.dtype.kind not in "biufUS":
            continue
        told = [_plain(values[n]) if n < len(values) else None for n in names]
        columns[name.removeprefix("meta/trials/").removesuffix(".npy")] = told
        if name == TIERS:
            notes += _tierless(values, names)
    tiers = columns.pop("tiers", None)
    if tiers is None:
        notes.append(f"there is no {TIERS}: no trial has a tier, none counts as withheld")
    return (
        tuple(None if t is None else str(t) for t in tiers or [None] * len(names)),
        columns,
        (*notes,),
    )


def _tierless(tiers: np.ndarray[Any, Any], names: Mapping[int, str]) -> list[str]:
    """Say which trials have a tier and no files, or files and no tier."""
    named = [n for n in range(len(tiers)) if n not in names and str(tiers[n]) != "none"]
    beyond = [n for n in names if n >= len(tiers)]
    notes = []
    if named:
        notes.append(f"{TIERS} names {_few(named)}, of which there are no arrays")
    if beyond:
        notes.append(f"{TIERS} ends at trial {len(tiers) - 1}: {_few(beyond)} have no tier")
    return notes


def _uneven(groups: Mapping[str, Mapping[int, Head]], names: tuple[str, ...]) -> list[str]:
    """Say which trials each group lacks."""
    notes = []
    for group, heads in groups.items():
        if lacking := [names[i] for i in range(len(names)) if i not in heads]:
            notes.append(
                f"data/{group} has {len(heads)} of {len(names)} trials: it lacks {_few(lacking)}"
            )
    return notes


def _others(
    sizes: Mapping[str, int], groups: Mapping[str, Mapping[int, Head]], names: tuple[str, ...]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the files that are kept as they are, and those that are not."""
    arrays = {f"data/{g}/{names[i]}.npy" for g, heads in groups.items() for i in heads}
    kept, not_kept = {}, []
    for name, size in sizes.items():
        if name in arrays:
            continue
        if name_of(name).startswith(".") or name.startswith("__MACOSX/"):
            not_kept.append(f"{name}: hidden")
        elif name_of(name) == "zarr.json":
            not_kept.append(f"{name}: has the name that Zarr takes for itself")
        elif size > MOST_META:
            not_kept.append(f"{name}: {size} bytes, more than {MOST_META}")
        else:
            kept[name] = size
    return kept, tuple(not_kept)


def _neurons(groups: Mapping[str, Mapping[int, Head]]) -> int | None:
    counts = {head.shape[0] for head in groups.get(RESPONSES, {}).values()}
    return counts.pop() if len(counts) == 1 else None


def _rate(tree: Tree, rate: float | None) -> float:
    if rate is not None:
        return rate
    try:
        config = json.loads(tree.read("config.json", MOST_META)) if _has_config(tree) else None
    except (ValueError, RecursionError):
        config = None
    step = time_step({"config.json": config})
    return 1 / step if step and math.isfinite(1 / step) else RATE


def _has_config(tree: Tree) -> bool:
    return "config.json" in tree.names()


def _plain(value: Any) -> Any:  # noqa: ANN401 - one element of an array of any dtype
    told = value.item()
    if isinstance(told, bytes):
        return told.decode("latin-1")
    return str(told) if isinstance(told, float) and not math.isfinite(told) else told


def _few(items: list[Any]) -> str:
    listing = ", ".join(map(str, items[:_MOST_NAMED]))
    return f"{listing} and {len(items) - _MOST_NAMED} more" if len(items) > _MOST_NAMED else listing
