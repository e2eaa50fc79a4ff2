"""What can go wrong in the service alone, beside `microtome_core.errors`.

::

    MicrotomeError
    ├── InputError
    │   └── NotAcceptable     none of the media types that the caller accepts
    ├── StorageError
    │   └── Unreadable        with words that are fit for strangers
    └── Busy                  too many answers under way
"""

from microtome_core.errors import InputError, MicrotomeError, StorageError


class NotAcceptable(InputError):
    """The caller accepts none of the media types that there are."""


class Unreadable(StorageError):
    """Storage did not give a layer or a part of it; the message is fit for strangers.

    It names the layer, level and region, never a path; the cause is chained for the log.
    """


class Busy(MicrotomeError):
    """Too many answers are under way; the same request may succeed a moment later."""
