"""What can go wrong between a caller and a service.

The vocabulary's tree, grown by what only a client meets::

    MicrotomeError
    ├── InputError
    │   ├── AddressError       not the address of a layer
    │   ├── RegionError        (IndexError) a region outside of the volume
    │   │   ├── UnsupportedIndex  (TypeError) an index that is neither integer, slice nor ...
    │   │   └── RegionRefused     the service answered 400 or 416
    │   ├── SearchRefused      the service answered 400 to a search
    │   └── TooLarge
    │       └── CutoutTooLarge    the service answered 413
    ├── Conflict               the layer is not what the caller takes it for
    │   ├── WriteRefused          the service answered 409: not writable, or of another version
    │   └── PreconditionFailed
    │       └── RegionChanged     the service answered 412: somebody else wrote there meanwhile
    ├── NotFound               (LookupError)
    │   ├── LayerNotFound         the service answered 404 or 410
    │   └── Withheld              values that those who published the data keep back
    ├── StorageError           (OSError)
    │   └── Unavailable           the service answered 429, 502, 503 or 504 to every try
    ├── ServiceError           any answer of status 400 or above; all that are named here with
    │   │                      a status, and
    │   └── AccessDenied          (PermissionError) 401 or 403
    ├── BrokenConnection       (ConnectionError) no connection, or one that ended in mid-answer
    │   └── Unreachable           an unknown host or a certificate that is not trusted
    ├── TimedOut               (TimeoutError) no answer, or too slow a one
    ├── WrongAnswer            an answer that is not what was asked for
    │   └── LayerChanged          the layer was replaced since the volume was opened
    └── MissingLibrary         (ImportError) an optional library is not installed

Catch the general name; the special one says who refused. Each is safe to pickle.
"""

from http import HTTPStatus

from microtome_core.errors import (
    Conflict,
    InputError,
    MicrotomeError,
    NotFound,
    PreconditionFailed,
    RegionError,
    StorageError,
    TooLarge,
    Withheld,
)

__all__ = [
    "AccessDenied",
    "AddressError",
    "BrokenConnection",
    "Conflict",
    "CutoutTooLarge",
    "InputError",
    "LayerChanged",
    "LayerNotFound",
    "MicrotomeError",
    "MissingLibrary",
    "NotFound",
    "PreconditionFailed",
    "RegionChanged",
    "RegionError",
    "RegionRefused",
    "SearchRefused",
    "ServiceError",
    "StorageError",
    "TimedOut",
    "TooLarge",
    "Unavailable",
    "Unreachable",
    "UnsupportedIndex",
    "Withheld",
    "WriteRefused",
    "WrongAnswer",
    "from_answer",
]


class AddressError(InputError):
    """Not the address of a layer: ``http://host/collection/dataset/layer``."""


class UnsupportedIndex(RegionError, TypeError):
    """An index that is not of NumPy's basic indexing: a list, an array, a mask, None, a float."""


class BrokenConnection(MicrotomeError, ConnectionError):
    """The service could not be reached, or the connection broke before the answer was whole."""

    passing = True


class Unreachable(BrokenConnection):
    """A host that has no address or no trusted certificate: another try would not help."""

    passing = False


class TimedOut(MicrotomeError, TimeoutError):
    """The service was silent, or slower than the time-out bears."""

    passing = True


class WrongAnswer(MicrotomeError):
    """An answer whose form, shape, type or length is not what was asked for."""


class LayerChanged(WrongAnswer):
    """The layer was replaced since the volume was opened: open it again."""


class MissingLibrary(MicrotomeError, ImportError):
    """An optional library is not installed; the message names the extra that brings it."""


class ServiceError(MicrotomeError):
    """The service answered that it cannot, or will not.

    Parameters
    ----------
    message : str
        What to show.
    status : int
        HTTP status code.
    url : str
        What was asked.
    retry_after : float, optional
        Seconds after which the service wants to be asked again.
    """

    def __init__(
        self, message: str, status: int, url: str, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.url = url
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type["ServiceError"], tuple[str, int, str, float | None]]:
        return type(self), (str(self), self.status, self.url, self.retry_after)


class RegionRefused(ServiceError, RegionError):
    """400 or 416: the region, or another word of the request, is at fault."""


class SearchRefused(ServiceError, InputError):
    """400: a word of a search is at fault; the message names it, and what was expected."""


class AccessDenied(ServiceError, PermissionError):
    """401 or 403: a token is missing, unknown or not allowed to read this."""


class LayerNotFound(ServiceError, NotFound):
    """404 or 410: no such layer, or none that this token may see."""


class CutoutTooLarge(ServiceError, TooLarge):
    """413: more bytes than this service gives at once."""


class WriteRefused(ServiceError, Conflict):
    """409: the layer is not writable, or no longer of the version that was asked for."""


class RegionChanged(ServiceError, PreconditionFailed):
    """412: voxels of the region may have changed since they were read; nothing was written."""


class Unavailable(ServiceError, StorageError):
    """429, 502, 503, 504: too busy, or storage failed; the same call may succeed later."""


def from_answer(status: int, said: str, url: str, retry_after: float | None = None) -> ServiceError:
    """Return the error that stands for an answer of `status`.

    Parameters
    ----------
    status : int
        HTTP status code.
    said : str
        What the service gave as its reason; may be empty.
    url : str
        What was asked.
    retry_after : float, optional
        Seconds after which the service wants to be asked again.

    Examples
    --------
    >>> from_answer(404, "no layer demo/brain/axons", "http://host/demo/brain/axons")
    LayerNotFound('no layer demo/brain/axons (404 Not Found from http://host/demo/brain/axons)')
    """
    kind = _KINDS.get(status, ServiceError)
    name = f"{status} {_phrase(status)}".strip()
    message = f"{said} ({name} from {url})" if said else f"{name} from {url}"
    if status == 401:
        message += _LOG_IN
    return kind(message, status, url, retry_after)


_LOG_IN = (
    "; pass token= to microtome.open, or set MICROTOME_TOKEN: whoever runs the service makes keys "
    "with `microtome token create`"
)
_KINDS: dict[int, type[ServiceError]] = {
    400: RegionRefused,
    401: AccessDenied,
    403: AccessDenied,
    404: LayerNotFound,
    409: WriteRefused,
    410: LayerNotFound,
    412: RegionChanged,
    413: CutoutTooLarge,
    416: RegionRefused,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
