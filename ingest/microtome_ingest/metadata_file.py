"""What a user writes of a layer, in YAML or JSON, read without trust.

A file is small and plain: no anchors, aliases, tags, second documents or keys that stand twice, and
nested only so deep. In YAML every value is text and null is null: what a number is, the record
says, so that 007 and 1.10 stay what they are.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Never

import yaml

from microtome_core.errors import InputError, SourceError
from microtome_core.store.location import StorageOptions
from microtome_core.store.record_text import parse_json
from microtome_ingest.files import Files, is_remote, name_of, plain

# A record is some thousand bytes.
MOST_BYTES = 256 << 10
_DEEPEST = 16
_MOST_NODES = 5000
# That of libyaml is ten times as fast where it is there.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = ("", "~", "null", "Null", "NULL")


def read_metadata(path: str, options: StorageOptions | None = None) -> dict[str, Any]:
    """Return what a file says, as a merge patch.

    Parameters
    ----------
    path : str
        Of this machine, or an address.
    options : StorageOptions, optional
        How an address is reached.

    Raises
    ------
    SourceError
        No such file, one that is too large, or that holds what no such file needs; with the line.
    """
    text = metadata_text(path, options)
    is_json = name_of(path).lower().endswith(".json")
    found = _json(path, text) if is_json else parse_yaml(path, text)
    if not isinstance(found, dict):
        raise SourceError(path, "expected fields and values, such as 'license: CC-BY-4.0'")
    return found


def metadata_text(path: str, options: StorageOptions | None = None) -> str:
    """Return what a file holds; raises as `read_metadata`."""
    path = plain(path)
    data = _far(path, options) if is_remote(path) else _near(path)
    if len(data) > MOST_BYTES:
        raise SourceError(path, f"more than {MOST_BYTES} bytes: expected a page of metadata")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(path, f"byte {error.start} is no UTF-8") from error


def _near(path: str) -> bytes:
    try:
        with Path(path).open("rb") as stream:
            return stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise SourceError(path, error.strerror or str(error)) from error


def _far(path: str, options: StorageOptions | None) -> bytes:
    with Files(options).open(path) as data, data.stream() as stream:
        return stream.read(MOST_BYTES + 1)


def parse_yaml(path: str, text: str) -> Any:  # noqa: ANN401 - JSON of any kind
    """Return the one document of a YAML text; raises as `read_metadata`."""
    try:
        events = _checked(path, yaml.parse(text, _LOADER))
        documents = [_node(path, events, event) for event in events]
    except yaml.YAMLError as error:
        raise SourceError(path, f"not YAML: {' '.join(str(error).split())[:300]}") from error
    if len(documents) > 1:
        raise SourceError(path, f"holds {len(documents)} documents: expected one")
    return documents[0] if documents and documents[0] is not None else {}


def _checked(path: str, events: Iterator[yaml.Event]) -> Iterator[yaml.Event]:
    """Yield the events that make up nodes; nothing is built of what is refused."""
    depth = 0
    for number, event in enumerate(events):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if reason := _odd(event):
            _refuse(path, event, reason)
        if depth > _DEEPEST:
            _refuse(path, event, f"nested more than {_DEEPEST} deep")
        if number > _MOST_NODES:
            _refuse(path, event, f"more than {_MOST_NODES} values")
        if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
            yield event


def _odd(event: yaml.Event) -> str:
    """Return why an event is refused, empty if it is not."""
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        return "anchors and aliases are not read: write the value out"
    if tag := getattr(event, "tag", None):
        return f"the tag {str(tag)[:80]!r} is not read: write the value"
    return ""


def _node(path: str, events: Iterator[yaml.Event], event: yaml.Event) -> Any:  # noqa: ANN401
    if isinstance(event, yaml.ScalarEvent):
        plain = event.implicit[0] and event.value in _NULL
        return None if plain else event.value
    if isinstance(event, yaml.SequenceStartEvent):
        return list(_entries(path, events))
    return _mapping(path, events)


def _entries(path: str, events: Iterator[yaml.Event]) -> Iterator[Any]:
    for event in events:
        if isinstance(event, yaml.SequenceEndEvent):
            return
        yield _node(path, events, event)


def _mapping(path: str, events: Iterator[yaml.Event]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for event in events:
        if isinstance(event, yaml.MappingEndEvent):
            break
        if not isinstance(event, yaml.ScalarEvent):
            _refuse(path, event, "a key that is no text")
        if event.value in found:
            _refuse(path, event, f"{event.value[:80]!r} stands twice")
        found[event.value] = _node(path, events, next(events))
    return found


def _refuse(path: str, event: yaml.Event, reason: str) -> Never:
    line = "" if event.start_mark is None else f"line {event.start_mark.line + 1}: "
    raise SourceError(path, f"{line}{reason}")


def _json(path: str, text: str) -> dict[str, Any]:
    try:
        return parse_json(text)
    except InputError as error:
        raise SourceError(path, str(error)) from error
