"""What this machine's memory can hold."""

import os

from microtome.errors import TooLarge
from microtome_core.units import bytes_text


def check_memory(what: str, nbytes: int, advice: str) -> None:
    """Refuse what is more than the machine has: most likely nobody meant all of it.

    Parameters
    ----------
    what : str
        Named by the error.
    nbytes : int
    advice : str
        What to ask for instead.

    Raises
    ------
    TooLarge
    """
    memory = _memory()
    if memory is not None and nbytes > memory:
        raise TooLarge(f"{what} is {bytes_text(nbytes)}, memory {bytes_text(memory)}: {advice}")


def _memory() -> int | None:
    """Return this machine's bytes of memory; None where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
