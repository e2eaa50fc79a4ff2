"""Settings from one TOML file; the environment wins over it."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from microtome_core.errors import InputError

_NAMES: Mapping[type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: "a list of words",
}


def read_file(path: str, kinds: Mapping[str, type]) -> dict[str, Any]:
    """Return the values of a file.

    Parameters
    ----------
    path : str
    kinds : mapping of str to type
        Every key that there may be, and the type of its value.

    Raises
    ------
    InputError
        A file that cannot be read, a key that is unknown, or a value of another type; names file
        and key.
    """
    try:
        values = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"settings file {path}: {error}") from error
    return {key: _value(path, key, value, kinds) for key, value in values.items()}


def _value(path: str, key: str, value: object, kinds: Mapping[str, type]) -> Any:  # noqa: ANN401 - one of many types
    if key not in kinds:
        raise InputError(f"settings file {path}: key {key!r} is unknown")
    kind = kinds[key]
    if kind is float and type(value) is int:
        return float(value)
    if kind is tuple and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(value)
    # A bool is an int to isinstance.
    if type(value) is not kind:
        raise InputError(f"settings file {path}: {key} = {value!r:.80}: expected {_NAMES[kind]}")
    return value
