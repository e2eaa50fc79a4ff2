"""Lines that open one layer in the programs that people have; each is right for that layer."""

from collections.abc import Mapping
from dataclasses import dataclass

from microtome_core.wire import LayerInfo

Ranges = Mapping[str, tuple[int, int]]
_BLOCK = 64
# Not the name of a package: that of PyPI is somebody else's.
_CLIENT_KEY = "# sends the key that is in MICROTOME_TOKEN\n"
_CLIENT = "needs the Python client of microtome"
_FIJI = "File › Import › HDF5/N5/Zarr/OME-NGFF …, as the root"


@dataclass(frozen=True, slots=True)
class Snippet:
    """How one program opens a layer.

    Parameters
    ----------
    id : str
        A word for addresses within a page.
    name : str
    needs : str
        What to install, or where in the program to put an address.
    text : str
    ours : bool
        Whether the Python client of microtome is needed, of which `/docs` says how to install it.
    """

    id: str
    name: str
    needs: str
    text: str
    ours: bool = False


def example_region(info: LayerInfo) -> dict[str, tuple[int, int]]:
    """Return a block in the middle, no axis longer than 64."""
    ranges = {}
    for axis, extent in zip(info.axes, info.shape, strict=True):
        low = max(0, (extent - _BLOCK) // 2) if axis in "zyx" else 0
        ranges[axis] = (low, min(extent, low + _BLOCK))
    return ranges


def snippets(
    host: str, info: LayerInfo, path: str, experiment: str, *, private: bool = False
) -> tuple[Snippet, ...]:
    """Return how each program opens a layer.

    Parameters
    ----------
    host : str
        Where the service is reached, without a stroke at the end.
    info : LayerInfo
    path : str
        Of its folder below the root of the store.
    experiment : str
        Of BossDB's API, in which it is a channel.
    private : bool
        Whether a key is needed, which the lines take from `MICROTOME_TOKEN`; programs that have
        no place for one are left out.
    """
    region = example_region(info)
    zarr = f"{host}/zarr/{path}"
    found = [
        _python(host, info, region, private),
        _xarray(host, info, region, private),
        _zarr_python(zarr, region, private),
        _curl(host, info, region, private),
    ]
    intern = _intern(host, info, experiment, region, private)
    return (*found, *([intern] if intern else []), *(() if private else _keyless(host, info, zarr)))


def _keyless(host: str, info: LayerInfo, zarr: str) -> tuple[Snippet, ...]:
    """Return the programs that send no key."""
    fiji = Snippet("fiji", "Fiji", _FIJI, zarr)
    return _napari(zarr), _neuroglancer(host, info), fiji


def _index(region: Ranges) -> str:
    return ", ".join(f"{low}:{high}" for low, high in region.values())


def _python(host: str, info: LayerInfo, region: Ranges, private: bool) -> Snippet:
    text = (
        f"import microtome\n\n{_CLIENT_KEY * private}"
        f'volume = microtome.open("{host}/{info.id}")  # {info.axes}\n'
        f"block = volume[{_index(region)}]  # a NumPy array"
    )
    return Snippet("python", "Python", _CLIENT, text, ours=True)


def _xarray(host: str, info: LayerInfo, region: Ranges, private: bool) -> Snippet:
    chosen = ", ".join(f"{axis}=slice({low}, {high})" for axis, (low, high) in region.items())
    name = "labels" if info.kind == "labels" else "image"
    text = (
        f"import xarray as xr\n\n{_CLIENT_KEY * private}"
        f'data = xr.open_dataset("{host}/{info.id}", engine="microtome")["{name}"]\n'
        f"block = data.isel({chosen}).values"
    )
    needs = f"{_CLIENT} with its extra 'xarray'"
    return Snippet("xarray", "xarray", needs, text, ours=True)


def _zarr_python(zarr: str, region: Ranges, private: bool) -> Snippet:
    key = 'headers = {"Authorization": f"Bearer {os.environ[\'MICROTOME_TOKEN\']}"}\n'
    needed = "import os\n\n" * private
    sent = ', storage_options={"client_kwargs": {"headers": headers}}'
    text = (
        f"{needed}import zarr\n\n{key * private}"
        f'array = zarr.open_group("{zarr}", mode="r"{sent * private})["0"]\n'
        f"block = array[{_index(region)}]"
    )
    return Snippet("zarr", "zarr", "pip install 'zarr>=3' aiohttp fsspec", text)


def _curl(host: str, info: LayerInfo, region: Ranges, private: bool) -> Snippet:
    ranges = "".join(f"&{axis}={low}:{high}" for axis, (low, high) in region.items())
    name = info.id.rpartition("/")[2]
    url = f"{host}/api/datasets/{info.id}/cutout?level=0{ranges}&format=tiff"
    text = f'{curl(private=private)} -o {name}.tif "{url}"'
    return Snippet("curl", "curl", "an OME-TIFF", text)


def curl(*, private: bool) -> str:
    """Return how curl is called: an error is no file, and what is private needs a key."""
    key = ' -H "Authorization: Bearer $MICROTOME_TOKEN"'
    return f"curl --fail{key * private}"


def _napari(zarr: str) -> Snippet:
    # Its plugin takes addresses that end in .zarr alone; its reader takes any.
    text = (
        "import napari\n"
        "from napari_ome_zarr import napari_get_reader\n\n"
        f'url = "{zarr}"\n'
        "viewer = napari.Viewer()\n"
        "for data, options, kind in napari_get_reader(url)(url):\n"
        '    getattr(viewer, f"add_{kind}")(data, **options)\n'
        "napari.run()"
    )
    return Snippet("napari", "napari", "pip install 'napari[all]' napari-ome-zarr", text)


def _neuroglancer(host: str, info: LayerInfo) -> Snippet:
    needs = "as the source of a layer, in any Neuroglancer"
    address = f"precomputed://{host}/precomputed/{info.id}"
    return Snippet("neuroglancer", "Neuroglancer", needs, address)


def _intern(
    host: str, info: LayerInfo, experiment: str, region: Ranges, private: bool
) -> Snippet | None:
    """Return the lines for intern; None for types and axes that BossDB's API cannot hold."""
    if not _speaks_boss(info):
        return None
    scheme, _, address = host.partition("://")
    several = dict(zip(info.axes, info.shape, strict=True)).get("c", 1) > 1
    place = info.layer_id
    channel = f"{place.layer}--c0" if several else place.layer
    token = 'os.environ["MICROTOME_TOKEN"]' if private else '"public"'
    index = ", ".join("{}:{}".format(*region.get(axis, (0, 1))) for axis in "zyx")
    text = (
        "import os\n\n"
        f'os.environ.update(INTERN_PROTOCOL="{scheme}", INTERN_HOST="{address}", '
        f"INTERN_TOKEN={token})\n"
        "import intern\n\n"
        f'remote = intern.array("bossdb://{place.collection}/{experiment}/{channel}")\n'
        f"block = remote[{index}]  # z y x"
    )
    return Snippet("intern", "intern", "pip install intern", text)


def _speaks_boss(info: LayerInfo) -> bool:
    labels = info.kind == "labels" and info.dtype.lstrip("u").startswith("int")
    return (
        labels or info.dtype in ("uint8", "uint16", "uint32", "uint64")
    ) and "t" not in info.axes
