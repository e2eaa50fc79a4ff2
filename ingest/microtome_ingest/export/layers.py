"""Which layers are exported: one, or all of a dataset."""

from dataclasses import dataclass

from microtome_core.errors import InputError, NotFound
from microtome_core.names import DatasetId, LayerId
from microtome_core.store.layer import Layer, label_names, read_layer
from microtome_core.store.location import Store
from microtome_core.store.recording import Recording
from microtome_core.store.recordings import is_recording, read_recording


@dataclass(frozen=True, slots=True)
class Found:
    """What an address means.

    Parameters
    ----------
    layers : tuple of Layer
        Images before labels.
    recordings : tuple of Recording
    """

    layers: tuple[Layer, ...]
    recordings: tuple[Recording, ...] = ()


def find(store: Store, address: str, *, dataset: bool, recordings: bool) -> Found:
    """Return the layers of an address, and the recordings where they are wanted.

    Parameters
    ----------
    store : Store
    address : str
        ``collection/dataset/layer`` or, if `dataset`, ``collection/dataset``.
    dataset, recordings : bool
        What the format holds.

    Raises
    ------
    NotFound
        No such layer, or none in the dataset.
    InputError
        No address, or that of a recording where none is wanted.
    """
    parts = address.split("/")
    if len(parts) == 3:
        return _one(store, LayerId.parse(address), recordings=recordings)
    if len(parts) != 2 or not dataset:
        wanted = "collection/dataset, or with /layer" if dataset else "collection/dataset/layer"
        raise InputError(f"{address[:200]!r}: expected {wanted}")
    layers = sorted(
        _layers(store, DatasetId(*parts)),
        key=lambda layer: (layer.info.kind != "image", layer.info.id),
    )
    trials = _recordings(store, DatasetId(*parts)) if recordings else []
    if not layers and not trials:
        raise NotFound(f"no layer in dataset {address}")
    return Found(tuple(layers), tuple(trials))


def _one(store: Store, layer_id: LayerId, *, recordings: bool) -> Found:
    if not is_recording(store, layer_id):
        return Found((read_layer(store, layer_id),))
    if not recordings:
        raise InputError(
            f"{layer_id} is a recording of trials: export it as nwb, dandi or sensorium"
        )
    return Found((), (read_recording(store, layer_id),))


def _layers(store: Store, dataset: DatasetId) -> list[Layer]:
    found = []
    for image in store.children(str(dataset)):
        for name in (image, *label_names(store, f"{dataset}/{image}")):
            try:
                found.append(read_layer(store, LayerId(dataset.collection, dataset.dataset, name)))
            except (InputError, NotFound):
                continue  # a folder of something else, or an ingest that is not finished
    return found


def _recordings(store: Store, dataset: DatasetId) -> list[Recording]:
    found = []
    for name in store.children(str(dataset)):
        try:
            found.append(read_recording(store, LayerId(dataset.collection, dataset.dataset, name)))
        except (InputError, NotFound):
            continue  # a folder of something else, or an ingest that is not finished
    return found
