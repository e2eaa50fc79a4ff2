"""Everything that can go wrong, by what the caller can do about it.

::

    MicrotomeError
    ├── InputError            the caller's words or file are at fault: mend them
    │   ├── RegionError       a box outside the array, or not a box
    │   ├── SourceError       a source file that cannot be trusted
    │   ├── MissingMetadata   the source does not say; an option must
    │   └── TooLarge          more bytes than this service gives at once
    ├── NotFound              no such collection, dataset, layer or level
    │   └── Withheld          whoever published the data keeps these values back
    ├── Conflict              the layer exists and differs
    │   ├── PreconditionFailed  it is not any more what the caller expects it to be
    │   └── InUse             another process is writing it: the same call may succeed later
    └── StorageError          storage failed: the same call may succeed later
        └── AccessDenied      storage refuses: mend the rights first

Domain code raises these and nothing of HTTP; one table in the service maps them to a status,
one in the command line maps them to an exit code.
"""

from typing import ClassVar

from microtome_core.addresses import without_secrets


class MicrotomeError(Exception):
    """Root of every error that microtome raises on purpose."""

    # Whether the same call may succeed later, with nothing mended.
    passing: ClassVar[bool] = False


class InputError(MicrotomeError, ValueError):
    """The caller's words are at fault; the message says what was expected."""


class RegionError(InputError, IndexError):
    """A region that lies outside of its array or is not a box."""


class SourceError(InputError):
    """A source that cannot be read or trusted.

    Parameters
    ----------
    path : str
        The file at fault; what a URL may hold of credentials is left out.
    reason : str
        What is wrong with it and, where it is known, at which page, byte or plane.
    """

    def __init__(self, path: object, reason: str) -> None:
        self.path = without_secrets(str(path))
        self.reason = without_secrets(reason)
        super().__init__(f"{self.path}: {self.reason}")

    def __reduce__(self) -> tuple[type["SourceError"], tuple[str, str]]:
        return type(self), (self.path, self.reason)


class SourceDenied(SourceError):
    """Storage does not show the source to whoever asks: with other credentials it may."""


class MissingMetadata(SourceError):
    """The source leaves open what the store must know; the reason names the option that says it."""


class TooLarge(InputError):
    """A request for more than the service gives at once."""


class NotFound(MicrotomeError, LookupError):
    """No collection, dataset, layer or level of that name."""


class Withheld(NotFound):
    """Values that whoever published the data keeps back, such as responses to a test's videos."""


class Conflict(MicrotomeError):
    """What is to be written exists already and differs."""


class PreconditionFailed(Conflict):
    """What is to be written is not any more what the caller expects it to be; nothing was."""


class InUse(Conflict):
    """Another process is writing what is to be written."""

    passing = True


class StorageError(MicrotomeError, OSError):
    """Storage failed or holds damaged data. Never answered with fill values."""

    passing = True


class AccessDenied(StorageError):
    """Storage refuses to be read or written: rights, credentials or a read-only disk."""
