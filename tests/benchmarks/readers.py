"""Each reader through the whole ingest, beside the library that it stands on, alone, on one file.

Files are written by the libraries themselves, some 200 MB of voxels each; of formats that nobody
else writes a sample is read again and again, through our reader and the library's own.
"""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.region import Region
from microtome_ingest.formats import open_source, scenes
from tests.benchmarks.data import noise
from tests.benchmarks.scale import ingest_seconds
from tests.benchmarks.table import Row

ROUNDS = 3
PLANES = 112
AIM = 0.7
Voxels = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Made:
    """A file that a library writes, and how it reads all of it.

    Parameters
    ----------
    what : str
    name : str
        Of the file.
    library : str
    write : callable
        Takes a path and voxels.
    read : callable
        Takes a path and returns all voxels, or yields them.
    """

    what: str
    name: str
    library: str
    write: Callable[[Path, Voxels], object]
    read: Callable[[Path], object]


def measure(folder: Path) -> list[Row]:
    """Return a row for each format; an aim where the library is slower than what writes.

    Both share the cores, so the note tells the rate that they would have one after the other.
    """
    voxels = np.stack(list(noise(PLANES)))
    rows = [_row(made, folder, voxels) for made in MADE]
    limit = max(row.rate for row in rows)
    aimed = [replace(row, **_judged(row, limit)) for row in rows]
    samples = os.environ.get("MICROTOME_SAMPLES")
    return aimed + [_sample_row(sample, Path(samples)) for sample in SAMPLES if samples]


def _judged(row: Row, limit: float) -> dict[str, Any]:
    """Return aim and note; `limit` is the rate of an ingest that hardly has to read."""
    in_turn = 1 / (1 / row.other + 1 / limit)
    note = f"{row.rate / in_turn:.2f} of reading and writing in turn"
    return {"aim": AIM if row.other < limit else None, "note": note}


def _row(made: Made, folder: Path, voxels: Voxels) -> Row:
    path = folder / made.name
    if not path.exists():
        part = path.with_name(f"part-{path.name}")
        _remove(part)
        made.write(part, voxels)
        part.rename(path)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        theirs.append(_seconds(lambda: made.read(path)))
        root = folder / "readers"
        shutil.rmtree(root, ignore_errors=True)
        ours.append(ingest_seconds(str(path), str(root)))
    size = voxels.size * _itemsize(path) / 1e6
    return Row(f"ingest of {made.what}", size / median(ours), made.library, size / median(theirs))


def _itemsize(path: Path) -> int:
    with closing(open_source(str(path))) as source:
        return np.dtype(source.description.dtype).itemsize


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _write_tiff(path: Path, voxels: Voxels) -> None:
    _library("tifffile").imwrite(
        path, voxels, compression="zlib", photometric="minisblack", metadata={"axes": "ZYX"}
    )


def _write_tiles(path: Path, voxels: Voxels) -> None:
    _library("tifffile").imwrite(path, voxels, compression="zstd", tile=(256, 256), ome=True)


def _read_tiff(path: Path) -> object:
    return _library("tifffile").imread(path)


def _write_pngs(path: Path, voxels: Voxels) -> None:
    path.mkdir()
    for z, plane in enumerate(voxels):
        (path / f"z{z:04}.png").write_bytes(_library("imagecodecs").png_encode(plane, level=1))


def _read_pngs(path: Path) -> object:
    decode = _library("imagecodecs").png_decode
    return [decode(file.read_bytes()) for file in sorted(path.iterdir())]


def _save_npz(path: Path, voxels: Voxels) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, voxels=voxels)


def _read_npz(path: Path) -> object:
    with np.load(path) as archive:
        return archive["voxels"]


def _write_hdf5(path: Path, voxels: Voxels) -> None:
    with _library("h5py").File(path, "w") as file:
        file.create_dataset("a", data=voxels, chunks=(16, 128, 128), compression="gzip")


def _read_hdf5(path: Path) -> object:
    with _library("h5py").File(path) as file:
        return file["a"][...]


def _write_nifti(path: Path, voxels: Voxels) -> None:
    nibabel = _library("nibabel")
    nibabel.save(nibabel.Nifti1Image(voxels.T, np.eye(4), dtype="uint16"), path)


def _read_nifti(path: Path) -> object:
    return np.array(_library("nibabel").load(path).dataobj)


def _write_nrrd(path: Path, voxels: Voxels) -> None:
    header = {"encoding": "gzip"}
    _library("nrrd").write(str(path), voxels, header, index_order="C", compression_level=1)


def _read_nrrd(path: Path) -> object:
    return _library("nrrd").read(str(path), index_order="C")


def _write_zarr(path: Path, voxels: Voxels) -> None:
    found = _library("zarr").create_array(
        str(path), shape=voxels.shape, dtype=voxels.dtype, chunks=(16, 256, 256)
    )
    found[...] = voxels


def _read_zarr(path: Path) -> object:
    return _library("zarr").open_array(str(path), mode="r")[...]


def _spec(path: Path) -> dict[str, Any]:
    """Return how TensorStore addresses a folder of N5 or Neuroglancer precomputed."""
    driver = "n5" if path.suffix == ".n5" else "neuroglancer_precomputed"
    return {"driver": driver, "kvstore": {"driver": "file", "path": str(path)}}


def _write_n5(path: Path, voxels: Voxels) -> None:
    metadata = {"blockSize": [128, 128, 16], "compression": {"type": "gzip", "level": 1}}
    _write_chunks(_spec(path) | {"metadata": metadata}, voxels.T)


def _write_precomputed(path: Path, voxels: Voxels) -> None:
    scale = {"encoding": "raw", "chunk_size": [128, 128, 16], "resolution": [400, 400, 1000]}
    spec = _spec(path) | {"scale_metadata": scale, "multiscale_metadata": {"type": "image"}}
    _write_chunks(spec, voxels.T[..., None])


def _write_chunks(spec: dict[str, Any], voxels: Voxels) -> None:
    tensorstore = _library("tensorstore")
    more = {"create": True, "dtype": "uint16", "shape": list(voxels.shape)}
    tensorstore.open(spec, **more).result().write(voxels).result()


def _read_chunks(path: Path) -> object:
    return _library("tensorstore").open(_spec(path)).result().read().result()


def _write_czi(path: Path, voxels: Voxels) -> None:
    with _library("pylibCZIrw.czi").create_czi(str(path)) as file:
        for z, plane in enumerate(voxels):
            file.write(plane[..., None], plane={"Z": z})


def _read_czi(path: Path) -> object:
    with _library("pylibCZIrw.czi").open_czi(str(path)) as file:
        return [file.read(plane={"Z": z}) for z in range(PLANES)]


def _write_video(path: Path, voxels: Voxels) -> None:
    av = _library("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=20)
        stream.height, stream.width = voxels.shape[1:]
        stream.pix_fmt = "gray"
        for plane in (voxels >> 2).astype("uint8"):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(plane, format="gray")))
        container.mux(stream.encode())


def _read_video(path: Path) -> object:
    with _library("av").open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def _library(name: str) -> Any:  # noqa: ANN401 - each has an interface of its own
    return import_module(name)


MADE = (
    Made("NPY", "r.npy", "numpy", np.save, np.load),
    Made("NPZ, deflated", "r.npz", "numpy", _save_npz, _read_npz),
    Made("TIFF, deflated strips", "r.tif", "tifffile", _write_tiff, _read_tiff),
    Made("OME-TIFF, zstd tiles", "r.ome.tif", "tifffile", _write_tiles, _read_tiff),
    Made("PNG sequence", "r-png", "imagecodecs", _write_pngs, _read_pngs),
    Made("HDF5, gzip chunks", "r.h5", "h5py", _write_hdf5, _read_hdf5),
    Made("NIfTI", "r.nii", "nibabel", _write_nifti, _read_nifti),
    Made("NIfTI, gzip", "r.nii.gz", "nibabel", _write_nifti, _read_nifti),
    Made("NRRD, gzip", "r.nrrd", "pynrrd", _write_nrrd, _read_nrrd),
    Made("Zarr 3, zstd", "r.zarr", "zarr-python", _write_zarr, _read_zarr),
    Made("N5, gzip", "r.n5", "tensorstore", _write_n5, _read_chunks),
    Made("precomputed, raw", "r-precomputed", "tensorstore", _write_precomputed, _read_chunks),
    Made("CZI", "r.czi", "pylibCZIrw", _write_czi, _read_czi),
    Made("video, FFV1", "r.mkv", "PyAV", _write_video, _read_video),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A file of a format that only microscopes write.

    Parameters
    ----------
    name : str
        Among the samples.
    library : str
    read : callable
        Reads all images.
    """

    name: str
    library: str
    read: Callable[[Path], object]


def _sample_row(sample: Sample, samples: Path) -> Row:
    path, wanted = samples / sample.name, 30e6
    size = sum(array.nbytes for array in _ours(path))
    times = max(1, int(wanted / size))
    ours, theirs = [], []
    for _ in range(ROUNDS):
        theirs.append(_seconds(lambda: [sample.read(path) for _ in range(times)]))
        ours.append(_seconds(lambda: [_ours(path) for _ in range(times)]))
    rates = [size * times / median(taken) / 1e6 for taken in (ours, theirs)]
    what = f"open and read {path.name}, {times} times"
    return Row(what, rates[0], sample.library, rates[1], note="small: opening counts most")


def _ours(path: Path) -> list[Voxels]:
    found = []
    for scene in scenes(str(path)):
        with closing(open_source(str(path), scene.index)) as source:
            whole = source.description
            found.append(source.read(Region.whole(whole.axes, whole.shape)))
    return found


def _read_nd2(path: Path) -> object:
    with _library("nd2").ND2File(path) as file:
        return file.asarray()


def _read_oib(path: Path) -> object:
    with _library("oiffile").OifFile(path) as file:
        return file.asarray()


def _read_lif(path: Path) -> object:
    with _library("liffile").LifFile(path) as file:
        return [image.asarray() for image in file.images]


SAMPLES = (
    Sample("nd2/cluster.nd2", "nd2", _read_nd2),
    Sample("oib/test.oib", "oiffile", _read_oib),
    Sample("lif/testdata_2channel_xz.lif", "liffile", _read_lif),
    Sample("lsm/test.lsm", "tifffile", _read_tiff),
)
