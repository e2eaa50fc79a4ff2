"""The formats that layers are exported to: a row each."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from microtome_core.errors import InputError, MicrotomeError


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
    """

    name: str
    endings: tuple[str, ...]
    extra: str = "ingest"
    dataset: bool = False
    recordings: bool = False
    options: tuple[str, ...] = ()

    @property
    def write(self) -> Callable[..., Any]:
        """The function that writes it.

        Raises
        ------
        MicrotomeError
            A library is not installed; says how to.
        """
        word = self.name.replace("-", "_")
        try:
            module = import_module(f"microtome_ingest.export.{word}")
        except ModuleNotFoundError as error:
            raise MicrotomeError(
                f"export {self.name} needs {error.name}: pip install 'microtome[{self.extra}]'"
            ) from error
        return cast("Callable[..., Any]", getattr(module, f"export_{word}"))

    def check_name(self, name: str) -> None:
        """Refuse a name by which no reader would know the format."""
        if self.endings and not name.lower().endswith(self.endings):
            raise InputError(
                f"--out {name}: expected a name that ends in {' or '.join(self.endings)}"
            )


FORMATS = (
    Format("nwb", (".nwb",), "nwb", dataset=True, recordings=True, options=("incomplete", "link")),
    Format("tiff", (".tif", ".tiff", ".btf"), options=("pyramid",)),
    Format("nrrd", (".nrrd", ".nhdr"), options=("compress",)),
    Format("nifti", (".nii", ".nii.gz"), "nifti"),
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
