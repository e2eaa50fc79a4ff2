"""JSON of other programs as the record holds it."""

from collections.abc import Mapping
from math import isfinite
from typing import Any


def plain_json(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a value without what strict JSON lacks: NaN and the infinities become their names.

    >>> plain_json({"a": [float("nan"), 1.5]})
    {'a': ['nan', 1.5]}
    """
    if isinstance(value, Mapping):
        return {str(name): plain_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return value
