"""What the pages of a layer and of a dataset show of a layer."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from microtome_core.store.layer import Layer
from microtome_service.bossdb.frames import experiment_of
from microtome_service.catalog import Damaged
from microtome_service.catalog_page import cover, picture
from microtome_service.documents import (
    DatasetDocument,
    LayerSummary,
    RecordingSummary,
    layer_links,
)
from microtome_service.download import OFFERED, box_of, levels_of
from microtome_service.planes import PlaneName
from microtome_service.preview import preview
from microtome_service.reader import Limits
from microtome_service.record_page import citation, lead_of, light_of, parts_of, whole_of
from microtome_service.snippets import snippets

_COVER = 800


def layer_values(
    base: str,
    host: str,
    layer: Layer,
    layers: Iterable[Layer | Damaged],
    limits: Limits,
    plane: PlaneName = "xy",
    where: tuple[int | None, int | None] = (None, None),
    given: Mapping[str, Sequence[str]] | None = None,
    *,
    private: bool = False,
) -> dict[str, Any]:
    """Return what templates show of one of a dataset's layers; `where` is index and time point.

    Raises
    ------
    InputError
        A number among `given` that cannot be read.
    """
    info, links = layer.info, layer_links(base, layer)
    experiment = experiment_of(layer, [each for each in layers if isinstance(each, Layer)])
    return {
        "info": info,
        "links": links,
        "host": host,
        "light": light_of(info.attrs, len(info.channels)),
        "preview": preview(info, links.self, plane, *where, given or {}),
        "snippets": snippets(host, info, layer.path, experiment, private=private),
        "private": private,
        **box_values(base, layer, limits, 0, "tiff", {}),
    }


def box_values(
    base: str, layer: Layer, limits: Limits, level: int, form: str, given: Mapping[str, str]
) -> dict[str, Any]:
    """Return what the form of a download needs."""
    info, links = layer.info, layer_links(base, layer)
    return {
        "info": info,
        "links": links,
        "box": box_of(info, links.self, limits, level, form, given),
        "levels": levels_of(info),
        "formats": OFFERED,
    }


def record_values(name: str, url: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what templates show of a record."""
    return {
        "lead": lead_of(record),
        "whole": "" if whole_of(record) == lead_of(record) else whole_of(record),
        "record_parts": parts_of(record),
        "citation": citation(name, url, record),
    }


def relatives(layer: Layer, others: Iterable[Layer | Damaged]) -> dict[str, Any]:
    """Return the image that labels lie below, and the labels below an image, as far as readable."""
    ids = {other.path: other.info.id for other in others if isinstance(other, Layer)}
    folder, _, _ = layer.path.rpartition("/")
    image = folder.removesuffix("/labels") if folder.endswith("/labels") else ""
    below = [i for path, i in ids.items() if path.startswith(f"{layer.path}/labels/")]
    return {"image": ids.get(image), "labels": below}


def main_layer(layers: Iterable[Layer | Damaged]) -> Layer | None:
    """Return the layer that stands for a dataset: its first image, or else its first labels."""
    found = [each for each in layers if isinstance(each, Layer)]
    return next((each for each in found if each.info.kind == "image"), next(iter(found), None))


def dataset_values(
    base: str,
    host: str,
    dataset: DatasetDocument,
    layers: Sequence[Layer | Damaged],
    record: Mapping[str, Any],
    limits: Limits,
    *,
    private: bool = False,
) -> dict[str, Any]:
    """Return the values of the template of a dataset; `record` is that of its main layer."""
    main = main_layer(layers)
    summaries = [each for each in dataset.layers if isinstance(each, LayerSummary)]
    trials = [each for each in dataset.recordings if isinstance(each, RecordingSummary)]
    return {
        "dataset": dataset,
        "main": main and layer_values(base, host, main, layers, limits, private=private),
        "cover": cover(summaries, _COVER) or picture(trials, _COVER),
        **record_values(dataset.id, f"{host}/{dataset.id}", record),
    }
