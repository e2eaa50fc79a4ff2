"""What versions of a layer are called: that of its values, and that of everything it says.

A record may be changed while its values stay. Whoever has opened a layer reads on then, and what
caches hold stays valid: both go by the version of the values.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from microtome_core.store.record import SCHEMAS

# What of a record an ingest alone writes: which values these are.
_OF_VALUES = ("data", "source_format", "source_files", "conversion_history")
_LETTERS = 16


def record_version(document: bytes) -> str:
    """Return the version of all metadata of the layer whose ``zarr.json`` this is."""
    return sha256(document).hexdigest()[:_LETTERS]


def value_version(document: bytes, attributes: Mapping[str, Any]) -> str:
    """Return the version of the values of a layer: another one once they were replaced.

    Parameters
    ----------
    document : bytes
        Its ``zarr.json``.
    attributes : dict
        As they stand in it.

    Notes
    -----
    Where there is no record of ours, the version is that of the whole document.
    """
    record = attributes.get("nwb")
    if not isinstance(record, Mapping) or record.get("schema_id") not in SCHEMAS:
        return record_version(document)
    kept = {key: record[key] for key in _OF_VALUES if key in record}
    told = json.dumps(_known({**attributes, "nwb": kept}), sort_keys=True)
    return sha256(told.encode()).hexdigest()[:_LETTERS]


def _known(value: Any) -> Any:  # noqa: ANN401 - JSON of any kind
    """Return a value without nulls, which a change of the record leaves out."""
    if isinstance(value, Mapping):
        return {key: _known(each) for key, each in value.items() if each is not None}
    return [_known(each) for each in value] if isinstance(value, list) else value
