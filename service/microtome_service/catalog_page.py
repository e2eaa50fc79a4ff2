"""What the page of the catalog shows: a card for each dataset, the filters, the pages."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import quote, urlencode

from microtome_service.documents import (
    DatasetDocument,
    DatasetList,
    Facet,
    LayerSummary,
    RecordingSummary,
)
from microtome_service.pages import counted
from microtome_service.routes.datasets import ListQuery

# Datasets on a page of people, who see pictures; fewer than programs get.
PER_PAGE = 24
# A field of the form for each, and how it is called.
FILTERS: Mapping[str, str] = {
    "species": "Species", "technique": "Technique", "channel": "Channel", "license": "Licence",
}  # fmt: skip
SIZES = ("1MB", "100MB", "1GB", "10GB", "100GB", "1TB", "10TB")
ORDERS: Mapping[str, str] = {
    "name": "Name", "-changed": "Newest", "-size": "Largest", "size": "Smallest",
}  # fmt: skip
_FACTS = ("species", "technique")
_MOST_CHANNELS = 4
_WORDS = ("q", "cursor", "sort")


@dataclass(frozen=True, slots=True)
class Cover:
    """The picture of a dataset: of a layer, with labels over it if it has some."""

    src: str
    alt: str
    sides: int


@dataclass(frozen=True, slots=True)
class Card:
    """A dataset in the catalog.

    Parameters
    ----------
    facts : tuple of str
        Species, technique and such, as records spell them.
    parts : tuple of str
        What it holds, in words.
    nbytes : int
        Of the values of all layers and recordings.
    faults : int
        Layers that cannot be served.
    """

    page: str
    collection: str
    name: str
    cover: Cover | None
    facts: tuple[str, ...]
    channels: tuple[str, ...]
    parts: tuple[str, ...]
    license: str
    nbytes: int
    faults: int


def without_blanks(query: ListQuery) -> ListQuery:
    """Return a query in which a field that was left empty asks for nothing, as forms send it."""
    blank = [f.name for f in fields(query) if getattr(query, f.name) == ""]
    # Of a field that cannot be None, what it is unasked.
    empty: dict[str, Any] = {name: None for name in blank if name not in _WORDS}
    return replace(query, sort=query.sort or "name", **empty)


def card(dataset: DatasetDocument) -> Card:
    """Return a dataset in short."""
    layers = [each for each in dataset.layers if isinstance(each, LayerSummary)]
    recordings = [each for each in dataset.recordings if isinstance(each, RecordingSummary)]
    about = [each.about for each in layers] + [each.about for each in recordings]
    return Card(
        dataset.links.page,
        dataset.collection,
        dataset.dataset,
        cover(layers) or picture(recordings),
        tuple(value for field in _FACTS for value in _values(about, field)[:1]),
        _values([each.about for each in layers if each.kind == "image"], "channel")[
            :_MOST_CHANNELS
        ],
        tuple(_parts(layers, recordings)),
        next(iter(_values(about, "license")), ""),
        sum(each.nbytes for each in layers) + sum(each.nbytes for each in recordings),
        len(dataset.layers) + len(dataset.recordings) - len(layers) - len(recordings),
    )


def cover(layers: Sequence[LayerSummary], size: int = 400) -> Cover | None:
    """Return the picture of the first image, of labels where there is none; None without layers."""
    if not layers:
        return None
    first = next((each for each in layers if each.kind == "image"), layers[0])
    name = first.id.rpartition("/")[2]
    over = labels_of(first, layers)
    asked = {"size": str(size), "labels": over, "version": "" if over else first.version}
    words = urlencode({key: value for key, value in asked.items() if value})
    deep = dict(zip(first.axes, first.shape, strict=True)).get("z", 1) > 1
    alt = f"{name} from three sides" if deep else name
    return Cover(f"{first.links.self}/montage.webp?{words}", alt, 3 if deep else 1)


def picture(recordings: Sequence[RecordingSummary], size: int = 400) -> Cover | None:
    """Return the picture of the first recording, None without one."""
    for each in recordings:
        words = urlencode({"size": str(size), "version": each.version})
        name = each.id.rpartition("/")[2]
        return Cover(f"{each.links.picture}?{words}", f"a trial of {name}", 1)
    return None


def labels_of(image: LayerSummary, layers: Iterable[LayerSummary]) -> str:
    """Return the name of the first labels that lie below an image; empty if none do."""
    below = f"{image.links.zarr}/labels/"
    found = (each.id.rpartition("/")[2] for each in layers if each.links.zarr.startswith(below))
    return next(found, "")


def _values(about: Iterable[Mapping[str, Sequence[str]]], field: str) -> tuple[str, ...]:
    found = (value for each in about for value in each.get(field, ()))
    return tuple(dict.fromkeys(found))


def _parts(layers: Sequence[LayerSummary], recordings: Sequence[RecordingSummary]) -> Iterable[str]:
    for kind, word in (("image", "image"), ("labels", "label layer")):
        count = sum(each.kind == kind for each in layers)
        if count == 1 and kind == "image":
            shown = next(each for each in layers if each.kind == kind)
            yield " × ".join(map(str, shown.shape)) + f" {shown.axes}"
        elif count:
            yield counted(count, word)
    for each in recordings:
        yield f"{counted(each.trials, 'trial')}, {counted(each.neurons, 'neuron')}"


def catalog_page(base: str, listed: DatasetList, query: ListQuery) -> dict[str, Any]:
    """Return the values of the template."""
    facets = listed.facets or {}
    given = _given(query)
    return {
        "cards": [card(dataset) for dataset in listed.datasets],
        "listed": listed,
        "query": query,
        "filters": [
            (name, label, _choices(facets.get(name, ()), given.get(name)))
            for name, label in FILTERS.items()
        ],
        "sizes": SIZES,
        "orders": ORDERS,
        "chosen": [
            (name, value, _address(base, {k: v for k, v in given.items() if k != name}))
            for name, value in given.items()
            if name not in ("q", "sort")
        ],
        **_pages(base, listed, given),
    }


def _choices(facets: Iterable[Facet], chosen: str | None) -> list[tuple[str, int | None]]:
    """Return the values of a field; the one that is asked for, even where nothing has it."""
    found: list[tuple[str, int | None]] = [(each.value, each.count) for each in facets]
    known = any(value == chosen for value, _ in found)
    return found if chosen is None or known else [(chosen, None), *found]


def _given(query: ListQuery) -> dict[str, str]:
    names = ("q", *FILTERS, "sex", "kind", "min_size", "max_size", "collection", "sort")
    found = {name: getattr(query, name) for name in names}
    return {name: v for name, v in found.items() if v and (name, v) != ("sort", "name")}


def _pages(base: str, listed: DatasetList, given: Mapping[str, str]) -> dict[str, Any]:
    """Return where other pages are: the first, the last, and those around this one."""
    limit, last = listed.limit, max(0, (listed.total - 1) // listed.limit)
    here = min(listed.offset // limit, last)
    wanted = sorted({0, last, *range(max(0, here - 2), min(last, here + 2) + 1)})
    more = {} if limit == PER_PAGE else {"limit": str(limit)}

    def address(page: int) -> str:
        offset = {"offset": str(page * limit)} if page else {}
        return _address(base, {**given, **more, **offset})

    return {
        "here": here,
        "pages": [(page, address(page)) for page in wanted],
        "before": address(here - 1) if here else "",
        "after": address(here + 1) if here < last else "",
        "first": listed.offset + 1,
        "until": listed.offset + len(listed.datasets),
    }


def _address(base: str, given: Mapping[str, str]) -> str:
    words = urlencode(given, quote_via=quote)
    return f"{base}/?{words}" if words else f"{base}/"
