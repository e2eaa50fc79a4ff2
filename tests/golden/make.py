"""Makes the golden store of this version: ``python tests/golden/make.py`` once, at a release.

Every later version must read it: the file is added, and never made anew.
"""

import json
import os
import sys
import zipfile
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import zarr

sys.path.insert(0, str(Path(__file__).parents[2]))

from microtome_cli.main import main
from microtome_core import __version__
from tests.golden.truth import LAYERS, METADATA, MOUSE, RECORDING, SWC, TREE, Golden
from tests.sensorium_folders import write_folder

_SOURCE_DATE_EPOCH = "1700000000"


def make(root: Path, work: Path) -> None:
    """Ingest all of it."""
    os.environ["SOURCE_DATE_EPOCH"] = _SOURCE_DATE_EPOCH
    (work / "facts.yaml").write_text(METADATA)
    for layer in LAYERS:
        _ingest(root, work, layer)
    (work / "tree.swc").write_text(SWC)
    _run("ingest", str(work / "tree.swc"), str(root), "--as", TREE, "--unit", "micrometer")
    write_folder(work / "mouse", MOUSE)
    _run("ingest", str(work / "mouse"), str(root), "--as", RECORDING)


def _ingest(root: Path, work: Path, layer: Golden) -> None:
    np.save(work / "in.npy", layer.voxels())
    words = ["--axes", layer.axes, "--voxel-size", layer.size, *layer.options]
    if layer.record:
        words += ["--metadata", str(work / "facts.yaml")]
    _run("ingest", str(work / "in.npy"), str(root), "--as", layer.name, *words)


def _run(*words: str) -> None:
    assert main(words) == 0, words


def digests(root: Path) -> dict[str, list[str]]:
    """Return the SHA-256 of each level of each layer, as zarr-python reads it."""
    found: dict[str, list[str]] = {}
    for layer in LAYERS:
        collection, dataset, name = layer.name.split("/")
        folder = next((root / collection / dataset).rglob(f"{name}/zarr.json")).parent
        arrays = [zarr.open_array(folder / str(level), mode="r") for level in range(layer.levels)]
        voxels = [np.ascontiguousarray(array[...]) for array in arrays]
        found[layer.name] = [sha256(level.tobytes()).hexdigest() for level in voxels]
    return found


def pack(root: Path, target: Path) -> None:
    """Put a folder into a zip file whose bytes depend on nothing else."""
    with zipfile.ZipFile(target, "x", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(str(path.relative_to(root)), (2023, 11, 14, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        work = Path(folder)
        make(work / "root", work)
        target = Path(__file__).parent / f"{__version__}.zip"
        pack(work / "root", target)
        text = json.dumps(digests(work / "root"), indent=2)
        target.with_suffix(".json").write_text(text + "\n")
        print(f"{target}: {target.stat().st_size} bytes")
