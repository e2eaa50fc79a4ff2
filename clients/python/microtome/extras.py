"""Optional libraries, imported when first used, with an error that says how to get them."""

from importlib import import_module
from typing import Any

from microtome.errors import MissingLibrary


def library(name: str, extra: str, purpose: str) -> Any:  # noqa: ANN401 - any module
    """Return a module, or say which extra brings it.

    Parameters
    ----------
    name : str
        Of the module, such as ``dask.array``.
    extra : str
        Of this package.
    purpose : str
        What needs it: begins the message.

    Raises
    ------
    MissingLibrary
        It is not installed; also an ImportError.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != name.partition(".")[0]:
            raise
        raise MissingLibrary(
            f"{purpose} needs {name.partition('.')[0]}: install the extra '{extra}' of microtome"
        ) from error
