"""What is given of a layer as JSON text, read without trust, and the schema of what may be."""

import json
from typing import Any, Never

from pydantic import TypeAdapter

from microtome_core.errors import InputError
from microtome_core.store.record import SCHEMA, Record, RecordingRecord
from microtome_core.store.record_given import DERIVED

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def parse_json(text: str | bytes | bytearray) -> dict[str, Any]:
    """Return a JSON object in which no key stands twice and every number is one.

    Raises
    ------
    InputError
        Anything else, with its place.
    """
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError as error:
        raise InputError("nested too deeply") from error
    except InputError:
        raise
    except ValueError as error:  # a number of thousands of digits is one, too
        raise InputError(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError('expected fields and values, such as {"license": "CC-BY-4.0"}')
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise InputError(f"{twice[:80]!r} stands twice")
    return found


def _refuse(word: str) -> Never:
    raise InputError(f"{word} is no number of JSON")


def record_schema() -> dict[str, Any]:
    """Return the JSON Schema of a record as it is stored; what it does not name is allowed."""
    both: TypeAdapter[Record | RecordingRecord] = TypeAdapter(Record | RecordingRecord)
    return {"$schema": DIALECT, "title": SCHEMA, **both.json_schema()}


def given_schema() -> dict[str, Any]:
    """Return the JSON Schema of what may be given of a layer: nothing unknown, null removes."""
    schema = Record.model_json_schema()
    for each in (schema, *schema["$defs"].values()):
        each["additionalProperties"] = False
        # The kind of an imaging space is known from its array.
        each["required"] = [name for name in each.get("required", ()) if name == "name"]
    for name in DERIVED:
        schema["properties"].pop(name, None)
    used = {"SourceFile", "Conversion"}
    schema["$defs"] = {name: one for name, one in schema["$defs"].items() if name not in used}
    return {"$schema": DIALECT, **schema, "title": "what may be said of a layer"}
