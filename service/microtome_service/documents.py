"""The JSON of lists and of layers, as plain frozen structures."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic_core import to_json
from starlette.responses import Response

from microtome_core.names import DatasetId, LayerId
from microtome_core.store.layer import Layer
from microtome_core.store.recording import Recording
from microtome_core.trials import RECORDING, RecordingInfo
from microtome_core.wire import LayerInfo
from microtome_service.catalog import Damaged
from microtome_service.recordings import describe_recording, neuron_count


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
    """A layer in a list; sequences are in the order of `axes`, of level 0."""

    id: str
    kind: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...]
    units: tuple[str | None, ...]
    levels: int
    version: str
    links: LayerLinks


@dataclass(frozen=True, slots=True)
class DamagedSummary:
    """A layer that is there but cannot be served, and why."""

    id: str
    error: str


@dataclass(frozen=True, slots=True)
class RecordingLinks:
    """Addresses of a recording on this host; all but three are URI templates (RFC 6570)."""

    self: str
    page: str
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
    """A recording in a list."""

    id: str
    kind: str
    trials: int
    neurons: int
    variables: tuple[str, ...]
    version: str
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
class DatasetList:
    """One page of the datasets; `total` counts all that the filter lets pass."""

    datasets: tuple[DatasetDocument, ...]
    total: int
    limit: int
    offset: int


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
    layer_id = layer.info.id
    api = f"{base}/api/datasets/{layer_id}"
    return LayerLinks(
        self=api,
        page=f"{base}/{layer_id}",
        thumbnail=f"{api}/thumbnail.png",
        cutout=f"{api}/cutout{{?level,t,c,z,y,x,format}}",
        tiles=f"{api}/tiles/{{plane}}/{{level}}/{{index}}/{{row}}/{{col}}.{{extension}}"
        "{?size,t,channels,window*,color*,gamma,blend}",
        # Labels lie below their image.
        zarr=f"{base}/zarr/{layer.path}",
        precomputed=f"{base}/precomputed/{layer.info.id}",
    )


def layer_document(base: str, layer: Layer) -> LayerDocument:
    """Return all that is known of a layer."""
    info = layer.info
    return LayerDocument(
        info.id, info.kind, info.axes, info.units, info.dtype, info.levels, info.channels,
        info.version, info.attrs, info.writable, links=layer_links(base, layer),
    )  # fmt: skip


def dataset_document(
    base: str,
    dataset: DatasetId,
    layers: Iterable[Layer | Damaged],
    annotations: Iterable[LayerId] = (),
    recordings: Iterable[Recording | Damaged] = (),
) -> DatasetDocument:
    """Return a dataset with its layers and recordings in short, and its annotations."""
    return DatasetDocument(
        str(dataset),
        dataset.collection,
        dataset.dataset,
        tuple(_summary(base, layer) for layer in layers),
        tuple(_annotation(base, annotation) for annotation in annotations),
        DatasetLinks(
            f"{base}/api/datasets/{dataset}", f"{base}/{dataset}", f"{base}/zarr/{dataset}"
        ),
        tuple(_recording(base, each) for each in recordings),
    )


def recording_links(base: str, recording: Recording) -> RecordingLinks:
    """Return the addresses of a recording; `base` is as for `layer_links`."""
    api = f"{base}/api/datasets/{recording.id}"
    return RecordingLinks(
        self=api,
        page=f"{base}/{recording.id}",
        zarr=f"{base}/zarr/{recording.path}",
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
        info.columns, info.statistics, info.attrs, info.kind,
        links=recording_links(base, recording),
    )  # fmt: skip


def _recording(base: str, each: Recording | Damaged) -> RecordingSummary | DamagedSummary:
    if isinstance(each, Damaged):
        return DamagedSummary(str(each.id), each.error)
    return RecordingSummary(
        str(each.id), RECORDING, len(each.trials), neuron_count(each), tuple(each.variables),
        each.version, recording_links(base, each),
    )  # fmt: skip


def _annotation(base: str, annotation: LayerId) -> AnnotationSummary:
    folder = f"{base}/precomputed/{annotation.parent}/annotations/{annotation.layer}"
    return AnnotationSummary(
        annotation.layer, f"{folder}/skeletons", f"{folder}/points", f"{folder}/lines"
    )


def _summary(base: str, layer: Layer | Damaged) -> LayerSummary | DamagedSummary:
    if isinstance(layer, Damaged):
        return DamagedSummary(str(layer.id), layer.error)
    info = layer.info
    return LayerSummary(
        info.id, info.kind, info.axes, info.shape, info.dtype, info.levels[0].scale, info.units,
        len(info.levels), info.version, layer_links(base, layer),
    )  # fmt: skip
