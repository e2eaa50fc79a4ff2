"""``microtome metadata template``, ``show``, ``check`` and ``set``: what is known of a layer.

A recording of trials is one, too.
"""

import argparse
import getpass
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from microtome_cli.progress import ProgressObserver
from microtome_core.errors import InputError, NotFound
from microtome_core.names import DatasetId, LayerId
from microtome_core.store.layer import read_layer
from microtome_core.store.location import StorageOptions, Store
from microtome_core.store.record_arrays import arrays_for
from microtome_core.store.record_changes import (
    Change,
    change_dataset,
    change_record,
    dataset_given,
    history,
    layers_of,
)
from microtome_core.store.record_given import (
    OF_LAYER,
    RecordRefused,
    check_given,
    empty_record,
    merge,
    with_given,
)
from microtome_core.store.record_template import missing, template
from microtome_core.store.recordings import is_recording, read_document
from microtome_ingest.metadata_file import read_metadata

_BAD = 2
# Why each field that is missing should be there, by what it is missing of.
_Lacks = dict[LayerId | DatasetId, dict[str, str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    below = actions.add_parser("template", help="print YAML to fill in, with what is known")
    _finish(below, _template)
    below = actions.add_parser("show", help="print the record as JSON")
    below.add_argument("--history", action="store_true", help="who changed what, and when")
    below.add_argument("--original", action="store_true", help="with what the source says verbatim")
    _finish(below, _show)
    below = actions.add_parser("check", help="say what is wrong or missing; changes nothing")
    _finish(below, _check, file="?")
    below = actions.add_parser("set", help="write what a file says; the voxels stay as they are")
    below.add_argument("--version", metavar="V", help="only if the record is of this version")
    _finish(below, _set, file=None)


def _finish(parser: argparse.ArgumentParser, action: object, file: str | None = "") -> None:
    parser.add_argument("root", help="folder, file:///… or s3://bucket/… in which layers lie")
    parser.add_argument(
        "place",
        metavar="COLLECTION/DATASET[/LAYER]",
        help="a layer; or a dataset: all of its layers, those to come included",
    )
    if file != "":
        parser.add_argument("file", nargs=file, help="YAML, or JSON if it ends with .json")
    parser.set_defaults(action=action)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    code: int = arguments.action(arguments)
    return code


def _template(arguments: argparse.Namespace) -> int:
    place, store = _place(arguments), _store(arguments)
    print(template(str(place), _known(store, place), of_layer=isinstance(place, LayerId)), end="")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    place, store = _place(arguments), _store(arguments)
    if arguments.history:
        if not isinstance(place, LayerId):
            raise InputError(f"{place}: changes are noted of layers; name one")
        told: Any = history(store, place)
    else:
        told = _known(store, place)
        if not arguments.original:
            told.pop("original_metadata", None)
    print(json.dumps(told, indent=1, ensure_ascii=False))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    place, store = _place(arguments), _store(arguments)
    given = read_metadata(arguments.file) if arguments.file else {}
    known = _known(store, place)
    try:
        if isinstance(place, LayerId):
            arrays = arrays_for(store, place, given)
            record = with_given(known, given, arrays).to_json()
            lacks: _Lacks = {place: dict(missing(record))}
        else:
            lacks = _lacks(store, place, known, check_given(given))
    except RecordRefused as refused:
        return _say(refused)
    for where, fields in lacks.items():
        for name, why in fields.items():
            print(f"{where}: {name} is missing: {why}")
    print(f"{place}: nothing is wrong")
    return 0


def _lacks(
    store: Store, dataset: DatasetId, known: Mapping[str, Any], told: Mapping[str, Any]
) -> _Lacks:
    """Return what is missing: in all layers, where it may be said of the dataset, and in some.

    Raises
    ------
    RecordRefused
        A layer cannot bear what is said of the dataset; names it.
    """
    records = {layer: _record(store, layer) for layer in layers_of(store, dataset)}
    lacks: _Lacks = {}
    for layer, record in records.items():
        if record:
            lacks[layer] = dict(missing(_borne(store, layer, record, told)))
    everywhere = lacks or {dataset: dict(missing(merge(merge(empty_record(), known), told)))}
    first = next(iter(everywhere.values()))
    common = {
        name: why
        for name, why in first.items()
        if name.partition(".")[0] not in OF_LAYER
        if all(name in fields for fields in everywhere.values())
    }
    below = {
        layer: {name: why for name, why in fields.items() if name not in common}
        for layer, fields in lacks.items()
    }
    return {dataset: common, **below}


def _borne(
    store: Store, layer: LayerId, record: Mapping[str, Any], told: Mapping[str, Any]
) -> dict[str, Any]:
    try:
        return with_given(record, told, arrays_for(store, layer, told)).to_json()
    except RecordRefused as refused:
        raise RecordRefused([f"{layer}: {fault}" for fault in refused.faults]) from refused


def _set(arguments: argparse.Namespace) -> int:
    place, store = _place(arguments), _store(arguments)
    given = read_metadata(arguments.file)
    who = {"who": person(), "tool": "microtome metadata set", "file": arguments.file}
    try:
        if isinstance(place, LayerId):
            versions = [arguments.version] if arguments.version else None
            _tell(place, change_record(store, place, given, who, versions))
            return 0
        if arguments.version:
            raise InputError("--version is of a layer: name one")
        for layer, change in change_dataset(store, place, given, who).items():
            _tell(layer, change)
    except RecordRefused as refused:
        return _say(refused)
    print(f"{place}: kept for the layers to come")
    return 0


def person() -> str:
    """Return who runs this, as the system tells."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def tell_anew(
    store: Store, layer_id: LayerId, metadata: Mapping[str, Any], observer: ProgressObserver
) -> None:
    """Lay what an ingest is given over the record of a layer whose values were there."""
    change = change_record(store, layer_id, metadata, {"who": person(), "tool": "microtome ingest"})
    if change.changes:
        words = f"the values are there; its record has changed: {', '.join(change.changes)}"
        observer.say("metadata", words, fields=list(change.changes))


def _tell(layer: LayerId, change: Change) -> None:
    for name, (old, new) in change.changes.items():
        print(f"{layer}: {name}: {_short(old)} -> {_short(new)}")
    words = "is now" if change.changes else "stays"
    print(f"{layer}: its record {words} version {change.version}")


def _short(value: object) -> str:
    if value is None:
        return "nothing"
    words = json.dumps(value, ensure_ascii=False)
    return words if len(words) <= 80 else f"{words[:79]}…"


def _say(refused: RecordRefused) -> int:
    for fault in refused.faults:
        print(f"microtome: {fault}", file=sys.stderr)
    return _BAD


def _known(store: Store, place: LayerId | DatasetId) -> dict[str, Any]:
    if isinstance(place, LayerId):
        record = _record(store, place)
        if not record:
            raise NotFound(f"layer {place} has no record: other software wrote it")
        return dict(record)
    if place.dataset not in store.children(place.collection):
        raise NotFound(f"no dataset {place}")
    return dataset_given(store, place)


def _record(store: Store, place: LayerId) -> Mapping[str, Any]:
    if is_recording(store, place):
        return read_document(store, place).record
    return read_layer(store, place).info.attrs


def _place(arguments: argparse.Namespace) -> LayerId | DatasetId:
    words = arguments.place.split("/")
    return DatasetId(*words) if len(words) == 2 else LayerId.parse(arguments.place)


def _store(arguments: argparse.Namespace) -> Store:
    return Store(arguments.root, StorageOptions.from_environment(os.environ))
