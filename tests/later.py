"""Libraries that few tests use and that take seconds to import: every process imports all modules
of tests, and runs some.
"""

from importlib import import_module
from typing import Any


class Later:
    """A module that is imported when something of it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, word: str) -> Any:  # noqa: ANN401 - whatever the module holds
        """Return what the module calls by this name, which is a public one.

        Pytest asks all that it finds in tests whether it is a mock, a wrapper or a class.
        """
        if word.startswith("_"):
            raise AttributeError(word)
        return getattr(import_module(self._name), word)
