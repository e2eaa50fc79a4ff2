"""What search knows of a layer: values of a few fields, and the words of its record.

Records of any age, and those of other software, are read alike: what is absent or has another form
is left out, and no record makes a layer unfit to be found by its name.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from microtome_core.names import is_numbered_channel
from microtome_core.store.layer import Layer
from microtome_core.store.recording import Recording
from microtome_core.subjects import SEXES, SPECIES, TAXA
from microtome_core.trials import RECORDING
from microtome_core.wire import LayerInfo
from microtome_service.nested import value_at
from microtome_service.search.words import gathered, term

FIELDS = ("species", "sex", "technique", "license", "channel")

# Of these neither case nor blanks nor hyphens count: a light sheet is a light-sheet.
_UNSPACED = ("technique", "license")
_TAXON = re.compile(r"http purl obolibrary org obo ncbitaxon ([0-9]{1,9})")
# Where a record may say so; a path of keys each.
_PLACES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "species": (("subject", "species"), ("species",)),
    "sex": (("subject", "sex"), ("sex",)),
    "technique": (("microscopy_rig", "microscope", "technique"), ("microscope", "technique"),
                  ("technique",)),
    "license": (("license",), ("licence",), ("license", "name"), ("licence", "name")),
}  # fmt: skip
# Nobody looks for these by words: digests, names of types, and what was copied verbatim.
_UNSEARCHED = frozenset({
    "original_metadata", "conversion_history", "sha256", "etag", "schema_id", "nwb_version",
    "neurodata_type", "data", "registrations",
})  # fmt: skip
_LONGEST_LABEL = 200
_MOST_CHANNELS = 64
_DEEPEST = 8
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[0-9T:.+Z-]{0,22}")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one layer.

    Parameters
    ----------
    values : mapping of str to tuple of str
        By field of `FIELDS`, as the record spells them; fields without a value are left out.
    words : str
        Of the whole record, sorted, with one space between.
    changed : str
        When the layer was last converted, ISO 8601; empty where nobody says so.
    """

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: str = ""
    changed: str = ""


def facts_of(part: Layer | Recording) -> Facts:
    """Return what is known of a layer or a recording."""
    if isinstance(part, Recording):
        named, record, values = [str(part.id), RECORDING], part.record, record_values(part.record)
    else:
        info = part.info
        named, record, values = [info.id, info.kind], info.attrs, values_of(info)
    labels = (label for labels in values.values() for label in labels)
    texts = [*named, *_common_names(values), *labels, *_texts(dict(record))]
    return Facts(values, gathered(texts), _changed(record))


def values_of(info: LayerInfo) -> dict[str, tuple[str, ...]]:
    """Return the values of `FIELDS` that a layer has, as its record spells them."""
    return record_values(info.attrs, [channel.name for channel in info.channels])


def record_values(
    record: Mapping[str, Any], channels: Iterable[str] = ()
) -> dict[str, tuple[str, ...]]:
    """Return the values of `FIELDS` that a record holds; `channels` are known from elsewhere."""
    found = {name: _distinct(value_at(record, p) for p in paths) for name, paths in _PLACES.items()}
    named = (name for name in (*channels, *_channels(record)) if not _is_numbered(name))
    found["channel"] = _distinct(named)[:_MOST_CHANNELS]
    return {name: found[name] for name in FIELDS if found[name]}


def asked_term(name: str, text: str) -> str:
    """Return what a field is compared with: common names of species and sexes are understood.

    >>> asked_term("species", "Mouse"), asked_term("sex", "female"), asked_term("channel", "EGFP")
    ('mus musculus', 'f', 'egfp')
    >>> asked_term("technique", "Light-sheet") == asked_term("technique", "lightsheet")
    True
    """
    plain = term(text)
    if name in _UNSPACED:
        return plain.replace(" ", "")
    if name == "sex":
        return SEXES.get(plain, plain).lower()
    if name == "species":
        taxon = _TAXON.fullmatch(plain)
        known = TAXA.get(int(taxon[1])) if taxon else SPECIES.get(plain)
        return plain if known is None else known.lower()
    return plain


def _common_names(values: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    species = {asked_term("species", label) for label in values.get("species", ())}
    yield from (common for common, binomial in SPECIES.items() if binomial.lower() in species)


def _distinct(found: Iterable[object]) -> tuple[str, ...]:
    """Return the texts among values and lists of them, each once however it is spelt."""
    kept: dict[str, str] = {}
    for value in found:
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and term(text):
                # PostgreSQL keeps no text with NUL.
                label = text.replace("\0", "").strip()
                kept.setdefault(term(text), label[:_LONGEST_LABEL])
    return tuple(kept.values())


def _channels(record: Mapping[str, Any]) -> Iterator[object]:
    """Yield the names of channels, and of indicators."""
    for key in ("channels", "indicators"):
        told = record.get(key)
        for channel in told if isinstance(told, list) else []:
            yield value_at(channel, ("name",))
            indicator = value_at(channel, ("indicator",))
            yield value_at(indicator, ("name",)) if isinstance(indicator, dict) else indicator
    yield value_at(record, ("imaging_plane", "indicator"))


def _is_numbered(name: object) -> bool:
    """Tell whether a name is none that somebody would look for."""
    return isinstance(name, str) and is_numbered_channel(name)


def _texts(value: object, depth: int = 0) -> Iterator[str]:
    """Yield every text of a record that people may look for."""
    if isinstance(value, str):
        yield value
    elif depth < _DEEPEST and isinstance(value, dict):
        for key, below in value.items():
            if key not in _UNSEARCHED:
                yield from _texts(below, depth + 1)
    elif depth < _DEEPEST and isinstance(value, list):
        for below in value:
            yield from _texts(below, depth + 1)


def _changed(record: Mapping[str, Any]) -> str:
    history = record.get("conversion_history")
    times = (
        [value_at(step, ("timestamp",)) for step in history] if isinstance(history, list) else []
    )
    return max(
        (time for time in times if isinstance(time, str) and _TIME.fullmatch(time)), default=""
    )
