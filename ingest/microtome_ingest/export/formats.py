"""The formats that layers are exported to: a row each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, cast

from microtome_core.errors import InputError, MicrotomeError
from microtome_ingest.export.cut import Cut


@dataclass(frozen=True, slots=True)
class Format:
    """A format.

    Parameters
    ----------
    name : str
        As ``microtome export`` takes it.
    endings : tuple of str
        Of the file or folder; empty where any will do.
    extra : str
        What to install for it.
    dataset : bool
        Whether it holds all layers of a dataset.
    recordings : bool
        Whether it holds recordings of trials, too.
    options : tuple of str
        Keywords that its function takes.
    placed : bool
        Whether it says how voxels lie in a space beyond the layer.
    """

    name: str
    endings: tuple[str, ...]
    extra: str = "ingest"
    dataset: bool = False
    recordings: bool = False
    options: tuple[str, ...] = ()
    placed: bool = False

    @property
    def write(self) -> Callable[..., Any]:
        """The function that writes it.

        Raises
        ------
        MicrotomeError
            A library is not installed; says how to.
        """
        name = f"export_{self.name.replace('-', '_')}"
        return cast("Callable[..., Any]", getattr(self._module, name))

    def notes(self, cut: Cut) -> Sequence[str]:
        """Return what a file of a cut cannot tell, for whoever asked for it; raises as `write`."""
        return cast("Sequence[str]", self._module.notes(cut)) if self.placed else ()

    @property
    def _module(self) -> ModuleType:
        word = self.name.replace("-", "_")
        try:
            return import_module(f"microtome_ingest.export.{word}")
        except ModuleNotFoundError as error:
            raise MicrotomeError(
                f"export {self.name} needs {error.name}: "
                f"install the extra '{self.extra}' of microtome"
            ) from error

    def check_name(self, name: str) -> None:
        """Refuse a name by which no reader would know the format."""
        if self.endings and not name.lower().endswith(self.endings):
            raise InputError(
                f"--out {name}: expected a name that ends in {' or '.join(self.endings)}"
            )


FORMATS = (
    Format("nwb", (".nwb",), "nwb", dataset=True, recordings=True, options=("incomplete", "link")),
    Format("tiff", (".tif", ".tiff", ".btf"), options=("pyramid",)),
    Format("nrrd", (".nrrd", ".nhdr"), options=("compress",), placed=True),
    Format("nifti", (".nii", ".nii.gz"), "nifti", placed=True),
    Format("ome-zarr", ()),
    Format("precomputed", ()),
    Format("npy", (".npy",)),
    Format("dandi", (), "nwb", dataset=True, recordings=True),
    Format("bids", (), dataset=True, options=("suffix",)),
)


def find_format(name: str) -> Format:
    """Return a format by its name."""
    for one in FORMATS:
        if one.name == name:
            return one
    raise InputError(f"format {name[:40]!r}: expected one of {', '.join(f.name for f in FORMATS)}")
