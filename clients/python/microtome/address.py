"""The address of a layer, taken apart into the service and the layer's name."""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from microtome.errors import AddressError
from microtome_core.errors import InputError
from microtome_core.names import DatasetId, LayerId

# A host and port without a scheme, and a scheme without its slashes.
_HOST = re.compile(r"(?:[\w-]+\.)*[\w-]+:\d{1,5}(?:/.*)?", re.ASCII)
_SLASHES = re.compile(r"(https?):?/{0,2}(?=[\w.-]+[:/])", re.ASCII)
_API = ["api", "datasets"]
_ZARR = "zarr"
_EXPECTED = "expected for example https://host/collection/dataset/layer"
_STORE = "or, of a store where it lies, ROOT/collection/dataset/layer, a path or s3://bucket/…"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a layer is served.

    Parameters
    ----------
    base : str
        The service: scheme, host, port and prefix, without a slash at the end.
    layer : LayerId
        Which layer of that service.

    Examples
    --------
    >>> address = Address.parse("https://host:8080/data/demo/brain/neurons/")
    >>> address.base, str(address.layer)
    ('https://host:8080/data', 'demo/brain/neurons')
    >>> address.api
    'https://host:8080/data/api/datasets/demo/brain/neurons'
    """

    base: str
    layer: LayerId

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read the address of a layer's page or of its JSON; query and fragment are left alone.

        Raises
        ------
        AddressError
            A scheme other than http and https, no host, a bad port, a password in the address
            (it would show in every message), or a path that does not end in
            collection/dataset/layer.
        """
        parts = _split(url)
        prefix, names = _names(parts.path)
        base = "/".join([f"{parts.scheme}://{parts.netloc}", *prefix])
        if len(names) == 2:
            raise AddressError(_without_layer(base, "/".join(names)))
        try:
            return cls(base, LayerId.parse("/".join(names)))
        except InputError as error:
            raise AddressError(f"{_shown(url)}: {error}; {_EXPECTED}") from error

    @property
    def url(self) -> str:
        """The layer's page, which is also what `microtome.open` takes."""
        return f"{self.base}/{self.layer}"

    @property
    def api(self) -> str:
        """The layer's JSON, and what the addresses of its voxels start with."""
        return f"{self.base}/api/datasets/{self.layer}"


def parse_base(url: str) -> str:
    """Return the address of a service, from that of its catalog page or of its list of datasets.

    >>> parse_base("https://host:8080/data/"), parse_base("http://host/api/datasets?q=brain")
    ('https://host:8080/data', 'http://host')

    Raises
    ------
    AddressError
        As for `Address.parse`, of any path.
    """
    parts = _split(url)
    path = parts.path.rstrip("/").removesuffix("/" + "/".join(_API)).rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def dataset_of(url: str) -> tuple[str, DatasetId] | None:
    """Return the service and the name of a dataset, if that is what an address is of.

    >>> base, dataset = dataset_of("http://host:8080/demo/brain/")
    >>> base, str(dataset)
    ('http://host:8080', 'demo/brain')

    Raises
    ------
    AddressError
        As for `Address.parse`, of a part of the address before its names.
    """
    parts = _split(url)
    prefix, names = _names(parts.path)
    if len(names) != 2:
        return None
    try:
        dataset = DatasetId(*names)
    except InputError:
        return None
    return "/".join([f"{parts.scheme}://{parts.netloc}", *prefix]), dataset


def _names(path: str) -> tuple[list[str], list[str]]:
    """Return the prefix of a service, and the names after it or after its ``api/datasets``."""
    parts = [part for part in path.split("/") if part]
    for at in range(len(parts) - 1):
        if parts[at : at + 2] == _API:
            return parts[:at], parts[at + 2 :]
    return _zarr(parts) or (parts[:-3], parts[-3:])


def _zarr(parts: list[str]) -> tuple[list[str], list[str]] | None:
    """Return the same of an address below ``zarr``, where labels lie below their image."""
    for width in (3, 5):
        at = len(parts) - width - 1
        if at >= 0 and parts[at] == _ZARR and (width == 3 or parts[-2] == "labels"):
            return parts[:at], [*parts[at + 1 : at + 3], parts[-1]]
    return None


def _without_layer(base: str, dataset: str) -> str:
    return (
        f"{base}/{dataset}: a dataset, and no layer of it; which there are, {base}/{dataset} shows "
        f"in a browser and {base}/api/datasets/{dataset} as JSON; {_EXPECTED}"
    )


def meant(text: str) -> str | None:
    """Return the address of a service that was most likely meant; None if it is none, or is one.

    >>> meant("localhost:8000/demo"), meant("http:/host/demo"), meant("folder/demo")
    ('http://localhost:8000/demo', 'http://host/demo', None)
    """
    text = text.strip()
    if _HOST.fullmatch(text):
        return f"http://{text}"
    slashes = _SLASHES.match(text)
    if slashes is None or text.startswith(("http://", "https://")):
        return None
    return f"{slashes[1]}://{text[slashes.end() :]}"


def did_you_mean(text: str) -> str:
    """Return the end of an error that names the address that was meant, where there is one."""
    found = meant(text)
    return f"; did you mean {_bare(found)}?" if found else ""


def _split(url: str) -> SplitResult:
    if not isinstance(url, str):
        raise AddressError(f"address of type {type(url).__name__}: {_EXPECTED}")
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port  # the port is read on demand, and raises
    except ValueError as error:
        raise AddressError(f"{_shown(url)}: {error}; {_EXPECTED}") from error
    if parts.scheme not in ("http", "https") or not host:
        more = did_you_mean(url) or f"; {_EXPECTED}; {_STORE}"
        raise AddressError(f"{_shown(url)}: no http or https address{more}")
    if "@" in parts.netloc:
        raise AddressError("an address with a user or password in it: pass token= instead")
    return parts


def _shown(url: str) -> str:
    # Whatever stands before an @ may be a password.
    return repr(_bare(url))


def _bare(url: str) -> str:
    return url.rpartition("@")[2][:200]


class Addressed:
    """What lies at the address of a layer or of a recording."""

    __slots__ = ()

    address: Address

    @property
    def id(self) -> str:
        """``collection/dataset/layer``."""
        return str(self.address.layer)

    @property
    def name(self) -> str:
        """The last part of `id`."""
        return self.address.layer.layer

    @property
    def url(self) -> str:
        """The address of its page, which `microtome.open` takes."""
        return self.address.url
