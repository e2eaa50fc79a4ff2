"""Which layers are exported: one, or all of a dataset."""

from microtome_core.errors import InputError, NotFound
from microtome_core.names import DatasetId, LayerId
from microtome_core.store.layer import Layer, label_names, read_layer
from microtome_core.store.location import Store


def layers_of(store: Store, address: str, *, dataset: bool) -> list[Layer]:
    """Return the layers of an address, images before labels.

    Parameters
    ----------
    store : Store
    address : str
        ``collection/dataset/layer`` or, if `dataset`, ``collection/dataset``.

    Raises
    ------
    NotFound
        No such layer, or none in the dataset.
    """
    parts = address.split("/")
    if len(parts) == 3:
        return [read_layer(store, LayerId.parse(address))]
    if len(parts) != 2 or not dataset:
        wanted = "collection/dataset, or with /layer" if dataset else "collection/dataset/layer"
        raise InputError(f"{address[:200]!r}: expected {wanted}")
    found = list(_found(store, DatasetId(*parts)))
    if not found:
        raise NotFound(f"no layer in dataset {address}")
    return sorted(found, key=lambda layer: (layer.info.kind != "image", layer.info.id))


def _found(store: Store, dataset: DatasetId) -> list[Layer]:
    found = []
    for image in store.children(str(dataset)):
        for name in (image, *label_names(store, f"{dataset}/{image}")):
            try:
                found.append(read_layer(store, LayerId(dataset.collection, dataset.dataset, name)))
            except (InputError, NotFound):
                continue  # a folder of something else, or an ingest that is not finished
    return found
