"""What can go wrong in the service alone, beside `microtome_core.errors`.

::

    MicrotomeError
    ├── InputError
    │   ├── NotAcceptable     none of the media types that the caller accepts
    │   ├── Unsupported       a body of a type that is not read
    │   ├── SlowCaller        a body that does not come
    │   └── RangeNotSatisfiable  none of the bytes asked for are there
    ├── StorageError
    │   └── Unreadable        with words that are fit for strangers
    ├── Unauthenticated       nobody knows who asks: show credentials
    ├── Forbidden             it may be seen, and no more
    ├── Conflict
    │   └── Outdated          the version asked for is no longer the layer's
    └── Busy                  too many answers under way
        └── TooMany           too many of the same caller's
    RuntimeError
    └── Interrupted           an answer that broke off after it had begun
"""

from microtome_core.errors import Conflict, InputError, MicrotomeError, StorageError


class NotAcceptable(InputError):
    """The caller accepts none of the media types that there are."""


class Unsupported(InputError):
    """The body is of a media type that is not read."""


class SlowCaller(InputError):
    """The body does not come, or too slowly."""


class Unreadable(StorageError):
    """Storage did not give a layer or a part of it; the message is fit for strangers.

    It names the layer, level and region, never a path; the cause is chained for the log.
    """


class Busy(MicrotomeError):
    """Too many answers are under way; the same request may succeed a moment later."""


class Unauthenticated(MicrotomeError):
    """Credentials are needed or do not hold; the message never repeats them.

    Parameters
    ----------
    reason : str
    invalid : bool
        Some were shown, and they do not hold.
    """

    def __init__(self, reason: str, *, invalid: bool = False) -> None:
        super().__init__(reason)
        self.invalid = invalid


class Forbidden(MicrotomeError):
    """What is asked for may be seen by the caller, but not be done."""


class TooMany(Busy):
    """The caller's own share of the room is taken, by answers that it is still being given."""


class Outdated(Conflict):
    """The layer has another version than the one that was asked for."""


class Interrupted(RuntimeError):
    """An answer broke off after its status was sent; no other status can be given any more.

    Not a `MicrotomeError`: nothing may try to answer it.
    """


class RangeNotSatisfiable(InputError):
    """None of the bytes asked for are there.

    Parameters
    ----------
    message : str
    size : int
        Bytes of the whole.
    """

    def __init__(self, message: str, size: int) -> None:
        self.size = size
        super().__init__(message)
