"""The JSON of lists and of layers, as plain frozen structures."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from microtome_core.names import DatasetId, LayerId
from microtome_core.store.layer import Layer
from microtome_core.store.recording import Recording
from microtome_core.trials import RECORDING, RecordingInfo
from microtome_core.wire import LayerInfo
from microtome_service.catalog import Damaged
from microtome_service.recordings import describe_recording, neuron_count
from microtome_service.search.facts import record_values, values_of


@dataclass(frozen=True, slots=True)
class LayerLinks:
    """Addresses of a layer on this host; `cutout` and `tiles` are URI templates (RFC 6570).

    `zarr` is what readers of OME-Zarr open.
    `precomputed` is a folder: Neuroglancer and CloudVolume take it with ``precomputed://`` and the
    host in front.
    """

    self: str
    page: str
    thumbnail: str
    cutout: str
    tiles: str
    zarr: str
    precomputed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDocument(LayerInfo):
    """A layer, and where its parts are."""

    links: LayerLinks


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """A layer in a list; sequences are in the order of `axes`, of level 0.

    `about` holds what its record says of the fields by which lists are filtered.
    """

    id: str
    kind: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...]
    units: tuple[str | None, ...]
    levels: int
    version: str
    nbytes: int
    about: dict[str, tuple[str, ...]]
    links: LayerLinks


@dataclass(frozen=True, slots=True)
class DamagedSummary:
    """A layer that is there but cannot be served, and why."""

    id: str
    error: str


@dataclass(frozen=True, slots=True)
class RecordingLinks:
    """Addresses of a recording on this host; all but four are URI templates (RFC 6570)."""

    self: str
    page: str
    picture: str
    zarr: str
    trials: str
    window: str
    neurons: str
    row: str
    statistic: str
    batch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingDocument(RecordingInfo):
    """A recording, and where its parts are."""

    links: RecordingLinks


@dataclass(frozen=True, slots=True)
class RecordingSummary:
    """A recording in a list; `about` is as for `LayerSummary`, `nbytes` of all its values."""

    id: str
    kind: str
    trials: int
    neurons: int
    variables: tuple[str, ...]
    version: str
    nbytes: int
    about: dict[str, tuple[str, ...]]
    links: RecordingLinks


@dataclass(frozen=True, slots=True)
class DatasetLinks:
    """Addresses of a dataset on this host."""

    self: str
    page: str
    zarr: str


@dataclass(frozen=True, slots=True)
class AnnotationSummary:
    """An SWC file of a dataset, and its folders in Neuroglancer's precomputed format."""

    name: str
    skeletons: str
    points: str
    lines: str


@dataclass(frozen=True, slots=True)
class DatasetDocument:
    """A dataset, its layers, its recordings, and the files that annotate it."""

    id: str
    collection: str
    dataset: str
    layers: tuple[LayerSummary | DamagedSummary, ...]
    annotations: tuple[AnnotationSummary, ...]
    links: DatasetLinks
    recordings: tuple[RecordingSummary | DamagedSummary, ...] = ()


@dataclass(frozen=True, slots=True)
class Facet:
    """A value of a field, and how many of the datasets found have it."""

    value: str
    count: int


@dataclass(frozen=True, slots=True)
class DatasetList:
    """One page of the datasets; `total` counts all that the filter lets pass.

    `complete` tells whether every dataset was looked at; `indexed_at`, in ISO 8601, when: what
    happened later may be missing. `next` is the cursor of the page that follows, if there is one.
    """

    datasets: tuple[DatasetDocument, ...]
    total: int
    limit: int
    offset: int
    complete: bool = True
    indexed_at: str | None = None
    next: str | None = None
    facets: dict[str, tuple[Facet, ...]] | None = None


def json_response(
    document: DatasetList | DatasetDocument | LayerDocument | RecordingDocument,
    headers: Mapping[str, str],
) -> Response:
    """Return a document as an answer.

    A record may be megabytes: this takes a twentieth of the time of `dataclasses.asdict` and
    `json`, during which no other request would be answered.
    """
    return Response(to_json(document), headers=headers, media_type="application/json")


def layer_links(base: str, layer: Layer) -> LayerLinks:
    """Return the addresses of a layer; `base` is the path below which the service is mounted."""
    return _layer_links(base, layer.info.id, layer.path)


def _layer_links(base: str, layer_id: str, path: str) -> LayerLinks:
    api = f"{base}/api/datasets/{layer_id}"
    return LayerLinks(
        self=api,
        page=f"{base}/{layer_id}",
        thumbnail=f"{api}/thumbnail.png",
        cutout=f"{api}/cutout{{?level,t,c,z,y,x,format}}",
        tiles=f"{api}/tiles/{{plane}}/{{level}}/{{index}}/{{row}}/{{col}}.{{extension}}"
        "{?size,t,channels,window*,color*,gamma,blend}",
        # Labels lie below their image.
        zarr=f"{base}/zarr/{path}",
        precomputed=f"{base}/precomputed/{layer_id}",
    )


def layer_document(base: str, layer: Layer) -> LayerDocument:
    """Return all that is known of a layer."""
    info = layer.info
    return LayerDocument(
        info.id, info.kind, info.axes, info.units, info.dtype, info.levels, info.channels,
        info.version, info.attrs, info.writable, info.record_version,
        links=layer_links(base, layer),
    )  # fmt: skip


def dataset_document(
    base: str,
    dataset: DatasetId,
    layers: Iterable[Layer | Damaged],
    annotations: Iterable[LayerId] = (),
    recordings: Iterable[Recording | Damaged] = (),
) -> DatasetDocument:
    """Return a dataset with its layers and recordings in short, and its annotations."""
    parts = (*map(short, layers), *(short(each) | {"kind": RECORDING} for each in recordings))
    return short_document(base, dataset, parts, (each.layer for each in annotations))


def indexed_document(
    base: str, dataset: DatasetId, parts: Iterable[str], annotations: Iterable[str]
) -> DatasetDocument:
    """Return the same, of what `short` returned as JSON, and of names of annotations."""
    return short_document(base, dataset, map(json.loads, parts), annotations)


def short_document(
    base: str, dataset: DatasetId, parts: Iterable[dict[str, Any]], annotations: Iterable[str]
) -> DatasetDocument:
    """Return a dataset, of what `short` returned of its layers and recordings."""
    layers: list[LayerSummary | DamagedSummary] = []
    recordings: list[RecordingSummary | DamagedSummary] = []
    for part in parts:
        path, kind = part.pop("path", ""), part.get("kind")
        if "error" in part:
            damaged = DamagedSummary(part["id"], part["error"])
            recordings.append(damaged) if kind == RECORDING else layers.append(damaged)
        elif kind == RECORDING:
            recordings.append(
                RecordingSummary(**part, links=_recording_links(base, part["id"], path))
            )
        else:
            layers.append(LayerSummary(**part, links=_layer_links(base, part["id"], path)))
    return DatasetDocument(
        str(dataset),
        dataset.collection,
        dataset.dataset,
        tuple(layers),
        tuple(_annotation(base, dataset, name) for name in annotations),
        DatasetLinks(
            f"{base}/api/datasets/{dataset}", f"{base}/{dataset}", f"{base}/zarr/{dataset}"
        ),
        tuple(recordings),
    )


def short(part: Layer | Recording | Damaged) -> dict[str, Any]:
    """Return a part of a dataset in short, without addresses, and its folder as `path`."""
    if isinstance(part, Damaged):
        kind = RECORDING if part.recording else ""
        return {"id": str(part.id), "error": part.error, "kind": kind}
    if isinstance(part, Recording):
        return {
            "id": str(part.id),
            "kind": RECORDING,
            "trials": len(part.trials),
            "neurons": neuron_count(part),
            "variables": tuple(part.variables),
            "version": part.version,
            "nbytes": part.nbytes,
            "about": record_values(part.record),
            "path": part.path,
        }
    return _short_layer(part.info) | {"path": part.path}


def _short_layer(info: LayerInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "kind": info.kind,
        "axes": info.axes,
        "shape": info.shape,
        "dtype": info.dtype,
        "scale": info.levels[0].scale,
        "units": info.units,
        "levels": len(info.levels),
        "version": info.version,
        "nbytes": info.nbytes,
        "about": values_of(info),
    }


def recording_links(base: str, recording: Recording) -> RecordingLinks:
    """Return the addresses of a recording; `base` is as for `layer_links`."""
    return _recording_links(base, str(recording.id), recording.path)


def _recording_links(base: str, layer_id: str, path: str) -> RecordingLinks:
    api = f"{base}/api/datasets/{layer_id}"
    return RecordingLinks(
        self=api,
        page=f"{base}/{layer_id}",
        picture=f"{api}/picture.webp",
        zarr=f"{base}/zarr/{path}",
        trials=f"{api}/trials{{?tier,min_length,limit,offset,format}}",
        window=f"{api}/trials/{{trial}}/{{variable}}{{?t,neurons,format}}",
        neurons=f"{api}/neurons{{?columns,limit,offset,format}}",
        row=f"{api}/neurons/{{neuron}}/{{variable}}{{?tier,min_length,format}}",
        statistic=f"{api}/statistics/{{variable}}/{{group}}/{{statistic}}{{?source}}",
        batch=f"{api}/trials/batch",
    )


def recording_document(base: str, recording: Recording) -> RecordingDocument:
    """Return all that is known of a recording."""
    info = describe_recording(recording)
    return RecordingDocument(
        info.id, info.version, info.format, info.trials, info.tiers, info.neurons, info.variables,
        info.columns, info.statistics, info.attrs, info.kind, info.record_version,
        links=recording_links(base, recording),
    )  # fmt: skip


def _annotation(base: str, dataset: DatasetId, name: str) -> AnnotationSummary:
    folder = f"{base}/precomputed/{dataset}/annotations/{name}"
    return AnnotationSummary(name, f"{folder}/skeletons", f"{folder}/points", f"{folder}/lines")
