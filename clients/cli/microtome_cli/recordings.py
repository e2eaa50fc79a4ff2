"""Recordings of trials in ``ingest``, ``info``, ``verify`` and ``export``."""

import argparse
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from microtome_cli.engines import memory, view
from microtome_cli.metadata import tell_anew
from microtome_cli.options import storage_options
from microtome_cli.progress import ProgressObserver
from microtome_core.errors import InputError, SourceError
from microtome_core.names import DatasetId, LayerId
from microtome_core.store.array import Codec
from microtome_core.store.location import StorageOptions, Store
from microtome_core.store.recording import Recording
from microtome_core.store.recording_document import RecordingFacts
from microtome_core.store.recordings import is_recording, read_recording
from microtome_core.units import bytes_text
from microtome_ingest.audit import Finding
from microtome_ingest.export.sensorium import export_sensorium
from microtome_ingest.files import Files, plain
from microtome_ingest.formats import format_of
from microtome_ingest.metadata_file import read_metadata
from microtome_ingest.recordings.document import FORMAT
from microtome_ingest.recordings.job import RecordingOptions, ingest_recording
from microtome_ingest.recordings.plan import axes_of
from microtome_ingest.recordings.survey import RESPONSES, Survey, survey
from microtome_ingest.recordings.verify import check_recording, compare_source
from microtome_ingest.sources.members import split
from microtome_ingest.sources.trials_facts import VIDEOS
from microtome_ingest.sources.trials_tree import groups_of, tree_of

KIND = "recording"
SENSORIUM = "sensorium"
# The layer's name where only a dataset is named.
_NAME = "recording"
_TRIALS = "microtome_ingest.sources.trials"
# What only volumes have.
_FOREIGN = ("axes", "voxel_size", "unit", "channels", "colors", "scene", "labels_of", "chunk",
            "shard", "levels", "workers", "scheduler", "array_index")  # fmt: skip


def wanted(arguments: argparse.Namespace) -> bool:
    """Tell whether an ingest is to make a recording: of all trials and not of one video alone."""
    if arguments.kind is not None:
        return bool(arguments.kind == KIND)
    if arguments.scene is not None:
        return False
    options = storage_options(arguments)
    path, files = plain(arguments.source), Files(options)
    if split(path, files)[1] is not None or not _are_trials(path, options):
        return False
    if arguments.layer.count("/") == 1:
        return True
    return bool(set(groups_of(tree_of(path, files))) - {VIDEOS})


def _are_trials(path: str, options: StorageOptions) -> bool:
    try:
        return format_of(path, options).module == _TRIALS
    except SourceError:
        return False  # whoever opens it says what is wrong


def layer_of(text: str) -> LayerId:
    """Return the address of a recording; ``c/d`` means ``c/d/recording``."""
    if text.count("/") == 1:
        parent = DatasetId(*text.split("/"))
        return LayerId(parent.collection, parent.dataset, _NAME)
    return LayerId.parse(text)


def check(arguments: argparse.Namespace) -> Survey:
    """Look at all trials without reading values; raises InputError for what they cannot be."""
    if given := [name for name in _FOREIGN if getattr(arguments, name, None) is not None]:
        raise InputError(f"--{given[0].replace('_', '-')}: a recording of trials has no such thing")
    layer_of(arguments.layer)
    return _survey(arguments, storage_options(arguments))


def make(arguments: argparse.Namespace, started: str | None) -> tuple[bool, str]:
    """Make a recording, and print what came of it; return whether it is new, and what it is."""
    found = check(arguments)
    layer_id, options = layer_of(arguments.layer), storage_options(arguments)
    store = Store(arguments.root, options)
    metadata = read_metadata(arguments.metadata, options) if arguments.metadata else None
    with ProgressObserver(str(layer_id), view(arguments, str(layer_id))) as observer:
        outcome = ingest_recording(
            found,
            store,
            layer_id,
            RecordingOptions(
                codec=Codec.parse(arguments.codec) if arguments.codec else None,
                threads=arguments.threads,
                memory=memory(arguments),
                restart=arguments.restart,
                grace=arguments.grace,
                started=started,
                metadata=metadata,
            ),
            observer,
        )
        if metadata and not outcome.written:
            tell_anew(store, layer_id, metadata, observer)
        facts = outcome.recording.facts
        for text in (*facts.notes, *(f"not kept: {name}" for name in facts.not_kept)):
            observer.result("note", f"note: {text}")
        verb = "wrote" if outcome.written else "nothing to do, the same is there:"
        text = f"{verb} {layer_id}: {summary(facts)}, below {store.url}"
        observer.result("done", text, written=outcome.written, info=told(facts))
    return outcome.written, summary(facts)


def _survey(arguments: argparse.Namespace, options: StorageOptions) -> Survey:
    step = getattr(arguments, "time_step", None)
    if step is not None and not step > 0:
        raise InputError(f"--time-step {step}: expected seconds, more than 0")
    return survey(plain(arguments.source), Files(options), 1 / step if step else None)


def look(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Return what ``info`` is to say, if it was asked about a recording or a folder for one."""
    options = storage_options(arguments)
    path, files = plain(arguments.source).rstrip("/"), Files(options)
    if (found := _stored(path, options)) is not None:
        return told(found.facts)
    if arguments.scene is not None or split(path, files)[1] is not None:
        return None
    if not _are_trials(path, options) or not set(groups_of(tree_of(path, files))) - {VIDEOS}:
        return None
    return told_source(survey(path, files))


def _stored(path: str, options: StorageOptions) -> Recording | None:
    """Return the recording that lies at ``ROOT/collection/dataset/layer``."""
    root, *names = path.rsplit("/", 3)
    try:
        layer_id = LayerId.parse("/".join(names))
        store = Store(root, options)
    except InputError:
        return None
    return read_recording(store, layer_id) if is_recording(store, layer_id) else None


def told(facts: RecordingFacts) -> dict[str, Any]:
    """Return what is worth knowing of a recording, JSON-able."""
    variables = {}
    for name, variable in facts.variables.items():
        pieces = variable.pieces
        variables[name] = {
            "axes": variable.axes,
            "shapes": [array.shape for array in variable.arrays],
            "dtypes": [array.dtype for array in variable.arrays],
            "unit": variable.unit,
            "rate": variable.rate,
            "trials": {s: pieces.state.count(s) for s in dict.fromkeys(pieces.state)},
            "frames": sum(pieces.valid),
            "padding": sum(pieces.length) - sum(pieces.valid),
        }
    return {
        "format": facts.format,
        "name": facts.name,
        "trials": len(facts.trials),
        "tiers": facts.tier_counts,
        "variables": variables,
        "neurons": {name: column.shape for name, column in facts.neurons.items()},
        "statistics": [one.model_dump(exclude_none=True) for one in facts.statistics],
        "not_kept": facts.not_kept,
        "notes": facts.notes,
    }


def told_source(found: Survey) -> dict[str, Any]:
    """Return what is worth knowing of a folder for a recording, JSON-able; no value was read."""
    variables = {}
    for group, heads in found.groups.items():
        variables[group] = {
            "axes": list(axes_of(group, len(next(iter(heads.values())).shape))),
            "shapes": [list(s) for s in dict.fromkeys(h.shape[:-1] for h in heads.values())],
            "dtypes": list(dict.fromkeys(h.dtype.name for h in heads.values())),
            "rate": found.rate,
            "trials": {"stored": len(heads), "missing": len(found.numbers) - len(heads)},
            "frames": sum(head.shape[-1] for head in heads.values()),
        }
    return {
        "format": FORMAT,
        "name": found.name,
        "trials": len(found.numbers),
        "tiers": dict(Counter(tier or "unknown" for tier in found.tiers)),
        "variables": variables,
        "files": len(found.kept),
        "not_kept": list(found.not_kept),
        "notes": list(found.notes),
    }


def text_of(found: Mapping[str, Any]) -> str:
    """Return what `told` or `told_source` gave as lines for a terminal."""
    tiers = ", ".join(f"{count} {tier}" for tier, count in found["tiers"].items())
    rows = [
        ("format", found["format"]),
        ("name", found["name"]),
        ("trials", f"{found['trials']}: {tiers}"),
        *[(name, _variable_text(one)) for name, one in found["variables"].items()],
        ("neurons", ", ".join(found.get("neurons", {}))),
        *[("statistic", _statistic_text(one)) for one in found.get("statistics", [])],
        *[("not kept", name) for name in found["not_kept"]],
        *[("note", note) for note in found["notes"]],
    ]
    return "\n".join(f"{name:<13} {text}" for name, text in rows if text)


def _variable_text(found: Mapping[str, Any]) -> str:
    shapes = " or ".join(" × ".join(map(str, shape)) for shape in found["shapes"])
    trials = ", ".join(f"{count} {state}" for state, count in found["trials"].items() if count)
    padding = f", {found['padding']} of padding" if found.get("padding") else ""
    unit = f" in {found['unit']}" if found.get("unit") else ""
    return (
        f"{', '.join(found['axes'])}: {shapes} × time {'/'.join(found['dtypes'])}{unit}, "
        f"{found['rate']:g} Hz, {found['frames']} frames{padding}, trials: {trials}"
    )


def _statistic_text(found: Mapping[str, Any]) -> str:
    name = f"{found['variable']} {found['group']} {found['name']}".replace("  ", " ")
    if "agrees" not in found:
        return f"{name}: {found.get('note') or 'computed of the training tier, none was supplied'}"
    word = "agrees with" if found["agrees"] else "differs from"
    gap = found.get("largest_difference")
    told = f", by {gap:g} at most ({100 * found['largest_relative']:.3g} %)" if gap else ""
    return f"{name}: {word} that of the training tier{told}"


def summary(facts: RecordingFacts) -> str:
    """Return a recording in one line."""
    tiers = ", ".join(f"{count} {tier}" for tier, count in facts.tier_counts.items())
    size = sum(sum(v.pieces.size) for v in facts.variables.values())
    neurons = facts.variables[RESPONSES].arrays[0].shape[0] if RESPONSES in facts.variables else 0
    return (
        f"{len(facts.trials)} trials ({tiers}), {', '.join(facts.variables)}, "
        f"{neurons} neurons, {bytes_text(size)} of arrays"
    )


def verify(
    store: Store,
    layer_id: LayerId,
    arguments: argparse.Namespace,
    find: Callable[[Finding], None],
    seen: Callable[[int], None],
) -> None:
    """Hold a recording against its ledger, and against its source."""
    if arguments.repair:
        raise InputError("--repair: of a recording nothing is mended; ingest it with --restart")
    threads = arguments.threads or 2
    for finding in check_recording(store, layer_id, threads, seen):
        find(finding)
    if arguments.source is not None:
        found = _survey(arguments, storage_options(arguments))
        for finding in compare_source(store, layer_id, found, threads, seen):
            find(finding)


def export(arguments: argparse.Namespace, foreign: Sequence[str]) -> int:
    """Write the folder that a recording was made of.

    Raises
    ------
    InputError
        One of the options in `foreign`, which a recording has not.
    """
    if given := [name for name in foreign if getattr(arguments, name)]:
        raise InputError(f"--{given[0].replace('_', '-')}: {SENSORIUM} has no such option")
    store = Store(arguments.root, StorageOptions.from_environment(os.environ))
    layer_id = layer_of(arguments.layer)
    recording = read_recording(store, layer_id)
    count = _Count()
    out = Path(arguments.out)
    files = export_sensorium(recording, out, overwrite=arguments.overwrite, count=count)
    print(f"wrote {out}: {files} files, {bytes_text(count.bytes)}, each as it was")
    return 0


class _Count:
    """Counts bytes, from several threads."""

    def __init__(self) -> None:
        self._lock, self.bytes = Lock(), 0

    def __call__(self, count: int) -> None:
        with self._lock:
            self.bytes += count
