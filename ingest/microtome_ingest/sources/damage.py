"""What a decoder says of damage, by exception or only in its log, becomes a SourceError."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from microtome_core.errors import InputError, SourceError, StorageError

# What a library says of a file that is as its format wants it: LSM files of two channels keep the
# bits of each elsewhere than TIFF does.
_HARMLESS = ("correcting LSM bitspersample tag",)


class _Recorder(logging.Handler):
    """Keeps what one thread logs, so that another thread's file is not blamed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.thread = threading.get_ident()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record's text if it is this thread's."""
        text = record.getMessage()
        if record.thread == self.thread and not text.endswith(_HARMLESS):
            self.messages.append(text)


@contextmanager
def strict(path: str, where: str = "", log: str = "tifffile") -> Iterator[None]:
    """Turn every exception, and every warning of the logger `log`, into one that names the file.

    Parameters
    ----------
    path : str
        The file at fault.
    where : str
        The page, plane or region being read.
    log : str
        tifffile reports truncation and damage there and then returns fewer pages.

    Raises
    ------
    SourceError
        Damage.
    StorageError
        As it comes: the file may be whole.
    """
    prefix = f"{where}: " if where else ""
    recorder, logger = _Recorder(), logging.getLogger(log)
    logger.addHandler(recorder)
    try:
        yield
    except (InputError, StorageError):
        raise
    except Exception as error:  # decoders raise anything, from IndexError to their own
        raise SourceError(path, f"{prefix}{type(error).__name__}: {error}") from error
    finally:
        logger.removeHandler(recorder)
    if recorder.messages:
        raise SourceError(path, prefix + "; ".join(recorder.messages[:3]))
