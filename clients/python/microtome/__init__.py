"""Any cutout of any brain image, over HTTP.

::

    import microtome

    volume = microtome.open("http://host/collection/dataset/layer")
    volume[10:74, :512, :512]                        # a NumPy array
    volume.level(2)[...]                             # the whole of a coarser level
    volume.sel(z=(10, 20), unit="micrometer")        # by physical position

    recording = microtome.open("http://host/collection/dataset/mouse")
    recording.trials[7].responses                    # neurons by time
    recording.responses(neuron=12)                   # one neuron in all trials

    catalog = microtome.Catalog("http://host")
    catalog.search("cortex", species="mouse")        # datasets, by the words of their records
"""

from importlib import import_module
from typing import Any

from microtome import errors
from microtome.catalog import Catalog
from microtome.recording import Recording
from microtome.volume import Volume, open  # noqa: A004 - read as microtome.open
from microtome_core import __version__

__all__ = ["Catalog", "Recording", "Volume", "__version__", "errors", "open"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module
    # asyncio is not loaded by who does not await.
    if name == "aio":
        return import_module("microtome.aio")
    raise AttributeError(f"module 'microtome' has no attribute {name!r}")
