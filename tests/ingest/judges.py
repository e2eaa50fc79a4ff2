"""Independent readers of the sample files: what another library, used directly, reads from them."""

import gzip
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

# Letters as the library has them, empty where it names none, and the voxels in that order.
Judged = tuple[str, NDArray[Any]]


def by_tifffile(path: Path, index: int) -> Judged:
    """Read one series of a TIFF file."""
    with tifffile.TiffFile(path) as tif:
        series = tif.series[index]
        return series.axes.lower(), series.asarray()


def by_tifffile_as_planes(path: Path, index: int) -> Judged:
    """Read the five files that a companion puts together, or any of them stands for."""
    planes = [tifffile.imread(path.parent / f"multifile-Z{z}.ome.tiff") for z in range(1, 6)]
    return "zyx", np.stack(planes)


def by_numpy(path: Path, index: int) -> Judged:
    """Load an NPY file, or a member of an NPZ file."""
    found = np.load(path)
    return "", found if path.suffix == ".npy" else found[found.files[index]]


def by_h5py(path: Path, index: int) -> Judged:
    """Read one of the arrays of numbers with two axes at least, in the order of their names."""
    return "", list(arrays(path).values())[index]


def arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays of numbers with two axes at least, as h5py reads them."""
    import h5py

    found: dict[str, NDArray[Any]] = {}

    def visit(name: str, item: object) -> None:
        image = isinstance(item, h5py.Dataset) and len(item.shape) > 1 and item.size
        if image and item.dtype.kind in "iuf" and not item.dtype.subdtype:
            found[f"/{name}"] = item[...]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def by_h5py_for_imaris(path: Path, index: int) -> Judged:
    """Put the channels of level 0 together, without what Imaris fills the arrays up with."""
    import h5py

    with h5py.File(path) as file:
        image, level = file["DataSetInfo/Image"], file["DataSet/ResolutionLevel 0"]
        x, y, z = (int(b"".join(image.attrs[axis]).decode()) for axis in "XYZ")
        first = level["TimePoint 0/Channel 0"]
        if "ImageSizeX" in first.attrs:
            sizes = [b"".join(first.attrs[f"ImageSize{axis}"]).decode() for axis in "XYZ"]
            x, y, z = map(int, sizes)
        found = [
            [level[f"TimePoint {t}/Channel {c}/Data"][:z, :y, :x] for c in range(len(level[at]))]
            for t, at in enumerate(level)
        ]
    pixels = np.array(found)
    return ("tczyx", pixels) if len(pixels) > 1 else ("czyx", pixels[0])


def by_h5py_for_bdv(path: Path, index: int) -> Judged:
    """Read the finest level of the first setup; its type is unsigned whatever HDF5 calls it."""
    import h5py

    with h5py.File(path.with_suffix(".h5")) as file:
        return "zyx", file["t00000/s00/0/cells"][...].view("u2")


def by_h5py_for_nwb(path: Path, index: int) -> Judged:
    """Read the frames of an image series."""
    import h5py

    with h5py.File(path) as file:
        return "", file["acquisition/test_imageseries/data"][...]


def by_h5py_of_a_path(path: Path, index: int) -> Judged:
    """Read one array of an HDF5 file."""
    import h5py

    name, _, inside = str(path).partition("::")
    with h5py.File(name) as file:
        return "", file[inside][...]


def by_pillow(path: Path, index: int) -> Judged:
    """Read a picture."""
    from PIL import Image

    with Image.open(path) as picture:
        found = np.asarray(picture)
    # Pillow gives truth values for one bit, where PNG's samples range to 255.
    return "yx" if found.ndim == 2 else "yxs", found * np.uint8(
        255
    ) if found.dtype == bool else found


def by_files(path: Path, index: int) -> Judged:
    """Read every picture of a folder, by name."""
    files = sorted(path.iterdir())
    planes = [(by_pillow if f.suffix == ".png" else by_tifffile)(f, 0)[1] for f in files]
    return "", np.stack(planes)


def by_nd2(path: Path, index: int) -> Judged:
    """Read an ND2 file."""
    import nd2

    with nd2.ND2File(path) as file:
        return "".join(file.sizes).lower(), file.asarray()


def by_pylibczirw(path: Path, index: int) -> Judged:
    """Read a scene of a CZI file plane by plane; its colours are stored from blue to red."""
    from pylibCZIrw.czi import open_czi

    with open_czi(str(path)) as file:
        scenes = file.scenes_bounding_rectangle
        extents = {axis: file.total_bounding_box[axis][1] for axis in "TCZ"}
        leading = [axis for axis in "TCZ" if extents[axis] > 1]
        planes = []
        for at in np.ndindex(*(extents[axis] for axis in leading)):
            plane = dict(zip(leading, at, strict=True))
            where = {"scene": index, "roi": scenes[index]} if scenes else {}
            planes.append(file.read(plane=plane, **where))
        pixels = np.stack(planes).reshape(*(extents[axis] for axis in leading), *planes[0].shape)
    letters = "".join(leading).lower() + "yx"
    if pixels.shape[-1] == 3:
        return letters + "s", pixels[..., ::-1]
    return letters, pixels[..., 0]


def by_oiffile(path: Path, index: int) -> Judged:
    """Read an Olympus file."""
    import oiffile

    with oiffile.OifFile(path) as file:
        return file.axes.lower(), file.asarray()


def by_liffile(path: Path, index: int) -> Judged:
    """Read an image of a LIF file; an axis y that was not scanned is one voxel."""
    import liffile

    with liffile.LifFile(path) as file:
        image = file.images[index]
        letters, pixels = "".join(image.dims).lower(), image.asarray()
    if "y" not in letters:
        return letters.replace("x", "yx"), np.expand_dims(pixels, letters.index("x"))
    return letters, pixels


def by_nibabel(path: Path, index: int) -> Judged:
    """Read a NIfTI file as its header scales it; x comes first there."""
    import nibabel

    return "", np.asarray(nibabel.load(path).dataobj).T


def by_pynrrd(path: Path, index: int) -> Judged:
    """Read an NRRD file."""
    import nrrd

    return "", nrrd.read(str(path), index_order="C")[0]


def by_pyav(path: Path, index: int) -> Judged:
    """Decode a video in order; the luma plane where ``::luma`` asks for it."""
    import av

    name, _, luma = str(path).partition("::")
    with av.open(name) as container, tempfile.TemporaryFile() as file:
        for frame in container.decode(video=0):
            pixels = _luma(frame) if luma else _colours(frame)
            file.write(np.ascontiguousarray(pixels).tobytes())
        return "tyx" if luma else "tyxs", np.memmap(file, "u1", "r").reshape(-1, *pixels.shape)


def _luma(frame: Any) -> NDArray[Any]:  # noqa: ANN401 - of PyAV
    plane = frame.planes[0]
    return np.frombuffer(plane, "u1").reshape(plane.height, plane.line_size)[:, : plane.width]


def _colours(frame: Any) -> NDArray[Any]:  # noqa: ANN401
    from av.video.reformatter import Interpolation

    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    exact |= Interpolation.BITEXACT
    return np.asarray(frame.reformat(format="rgb24", interpolation=int(exact)).to_ndarray())


def by_zarr(path: Path, index: int) -> Judged:
    """Read the finest array of an OME-Zarr group, or an array, with zarr-python."""
    import zarr

    store = zarr.storage.ZipStore(path, read_only=True) if path.suffix == ".zip" else str(path)
    found = zarr.open(store, mode="r")
    if isinstance(found, zarr.Group):
        attributes: Any = found.attrs.get("ome", found.attrs)
        found = found[attributes["multiscales"][0]["datasets"][0]["path"]]
    assert isinstance(found, zarr.Array)
    return "", np.asarray(found[...])


def by_zarr_beside(path: Path, index: int) -> Judged:
    """Read the folder of the same voxels that lies beside a database, with zarr-python."""
    return by_zarr(path.with_suffix(""), index)


def by_n5(path: Path, index: int) -> Judged:
    """Read N5 by its specification: raw blocks or gzip, x first, big-endian, absent ones are 0."""
    found = sorted(path.glob("**/attributes.json"), key=lambda file: (len(file.parts), file))
    array = next(f for f in found if "dimensions" in f.read_text()).parent
    says = json.loads((array / "attributes.json").read_text())
    extents, blocks = says["dimensions"], says["blockSize"]
    result = np.zeros(extents[::-1], says["dataType"])
    for at in np.ndindex(*(-(-n // b) for n, b in zip(extents, blocks, strict=True))):
        block = array.joinpath(*map(str, at))
        if not block.exists():
            continue
        data = block.read_bytes()
        count = int.from_bytes(data[2:4], "big")
        shape = np.frombuffer(data, ">u4", count, 4)
        dtype = result.dtype.newbyteorder(">")
        voxels = np.frombuffer(gzip.decompress(data[4 + 4 * count :]), dtype).reshape(shape[::-1])
        low = [i * b for i, b in zip(at, blocks, strict=True)]
        ends = [min(i + n, m) for i, n, m in zip(low, shape.tolist(), extents, strict=True)]
        box = tuple(slice(i, end) for i, end in zip(low, ends, strict=True))[::-1]
        result[box] = voxels[tuple(slice(part.stop - part.start) for part in box)]
    return "", result


def by_precomputed(path: Path, index: int) -> Judged:
    """Read a precomputed volume: blocks of PNG or compresso, x first; one channel has no axis."""
    import compresso
    from PIL import Image

    folder, _, key = str(path).partition("::")
    says = json.loads(Path(folder, "info").read_text())
    scale = next(one for one in says["scales"] if not key or one["key"] == key)
    channels = says["num_channels"]
    result = np.zeros((channels, *scale["size"][::-1]), says["data_type"])
    for file in Path(folder, scale["key"]).iterdir():
        spans = [
            tuple(map(int, part.split("-"))) for part in file.name.removesuffix(".gz").split("_")
        ]
        box = tuple(slice(low, high) for low, high in spans)
        shape = [high - low for low, high in spans]
        data = file.read_bytes()
        data = gzip.decompress(data) if file.suffix == ".gz" else data
        if scale["encoding"] == "png":
            pixels = np.asarray(Image.open(io.BytesIO(data))).reshape(*shape[::-1], channels)
            result[:, box[2], box[1], box[0]] = np.moveaxis(pixels, -1, 0)
        else:
            result[0, box[2], box[1], box[0]] = compresso.decompress(data).reshape(shape).T
    return ("czyx", result) if channels > 1 else ("zyx", result[0])


JUDGES: dict[str, Callable[[Path, int], Judged]] = {
    "tifffile": by_tifffile,
    "tifffile, planes": by_tifffile_as_planes,
    "numpy": by_numpy,
    "h5py": by_h5py,
    "h5py, Imaris": by_h5py_for_imaris,
    "h5py, BigDataViewer": by_h5py_for_bdv,
    "h5py, NWB": by_h5py_for_nwb,
    "h5py, a path": by_h5py_of_a_path,
    "Pillow": by_pillow,
    "files": by_files,
    "nd2": by_nd2,
    "pylibCZIrw": by_pylibczirw,
    "oiffile": by_oiffile,
    "liffile": by_liffile,
    "nibabel": by_nibabel,
    "pynrrd": by_pynrrd,
    "PyAV": by_pyav,
    "zarr": by_zarr,
    "zarr_beside": by_zarr_beside,
    "N5": by_n5,
    "precomputed": by_precomputed,
}
