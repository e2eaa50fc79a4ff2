"""What a service holds: datasets found by the words and values of their records.

Nothing is fetched before it is looked at, and then a page at a time.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from microtome.address import parse_base
from microtome.errors import RegionRefused, SearchRefused, WrongAnswer
from microtome.found import Dataset, read_dataset
from microtome.transport import Patience, Transport
from microtome_core.errors import InputError
from microtome_core.names import DatasetId

_PAGE = 200
_SHOWN = 10
_FILTERS = (
    "species", "sex", "technique", "channel", "license", "kind", "min_size", "max_size",
    "collection", "sort",
)  # fmt: skip


class Catalog:
    """The datasets of a service, as far as the token may see them.

    Parameters
    ----------
    url : str
        The address of the service: ``http://host``.
    token : str, optional
        Sent as ``Authorization: Bearer``; environment MICROTOME_TOKEN stands in for it.
    timeout, retries, parallel : float, int, int
        As for `microtome.open`; volumes that are opened from here inherit them.

    Raises
    ------
    AddressError
        `url` is no http or https address.

    Examples
    --------
    ``microtome.Catalog("http://host").search("cortex", species="mouse")[0].layers[0].open()``
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 30.0,
        retries: int = 5,
        parallel: int = 8,
    ) -> None:
        given = os.environ.get("MICROTOME_TOKEN") if token is None else token
        self._transport = Transport(given, Patience(timeout, retries, parallel))
        self.url = parse_base(url)

    def search(self, words: str = "", **filters: str | int | None) -> "Results":
        """Return the datasets that fit; nothing is fetched before they are looked at.

        Parameters
        ----------
        words : str
            Each is part of a dataset's name, or begins a word of its records, in any case.
        **filters : str or int
            `species` by Latin or common name, `sex`, `technique`, `channel` by its name or
            indicator, `license`, `kind` (image, labels or recording), `min_size` and `max_size` in
            bytes or as ``"1.5GB"``: one layer of the dataset meets all of them. `collection`, by
            its name. `sort`: name, size or changed, with a minus in front backwards.

        Raises
        ------
        InputError
            A filter that there is not. What the service does not take of one is a `SearchRefused`,
            which is an InputError too, as soon as the datasets are looked at.
        """
        for name in filters:
            if name not in _FILTERS:
                raise InputError(f"filter {name!r} is unknown: expected {', '.join(_FILTERS)}")
        given = {name: str(value) for name, value in filters.items() if value is not None}
        return Results(self, {"q": words, **given} if words else given)

    def datasets(self) -> "Results":
        """Return every dataset, by name."""
        return self.search()

    def facets(self, words: str = "", **filters: str | int | None) -> dict[str, dict[str, int]]:
        """Return how many of the datasets that `search` would find have each value.

        Returns
        -------
        dict
            For species, sex, technique, license and channel the values, the most frequent first.
        """
        query = {**self.search(words, **filters).query, "facets": "true", "limit": "1"}
        found = self._ask(query).get("facets")
        try:
            return {
                field: {str(each["value"]): int(each["count"]) for each in values}
                for field, values in dict(found or {}).items()
            }
        except (TypeError, KeyError, ValueError) as error:
            raise WrongAnswer(f"{self.url}: no facets: {error!r}") from error

    def __iter__(self) -> Iterator["Dataset"]:
        return iter(self.datasets())

    def __len__(self) -> int:
        return len(self.datasets())

    def __getitem__(self, name: str) -> "Dataset":
        """Return the dataset ``collection/dataset``.

        Raises
        ------
        NotFound
            There is none, or none that the token may see.
        """
        collection, _, dataset = name.partition("/")
        address = f"{self.url}/api/datasets/{DatasetId(collection, dataset)}"
        return self._dataset(self._transport.json(address))

    def __repr__(self) -> str:
        return f"<microtome.Catalog {self.url}>"

    def _dataset(self, value: object) -> Dataset:
        return read_dataset(value, self.url, self._transport)

    def _ask(self, query: Mapping[str, str]) -> dict[str, Any]:
        url = f"{self.url}/api/datasets?{urlencode(query)}"
        try:
            value = self._transport.json(url)
        except RegionRefused as refused:  # which is an IndexError: it would end a loop unseen
            raise SearchRefused(str(refused), refused.status, refused.url) from refused
        if not isinstance(value, dict) or not isinstance(value.get("datasets"), list):
            raise WrongAnswer(f"{url}: no list of datasets: is this a microtome service?")
        return value


@dataclass(frozen=True, slots=True, repr=False)
class Results:
    """Datasets that were found, fetched a page at a time when they are looked at.

    ``len``, iteration, an index and a slice work as those of a list. What changes at the service
    meanwhile is seen by whoever asks anew.

    Parameters
    ----------
    catalog : Catalog
    query : mapping of str to str
        The search in the words of the service.
    """

    catalog: Catalog
    query: Mapping[str, str]
    _first: list[dict[str, Any]] = field(default_factory=list, compare=False)

    @property
    def complete(self) -> bool:
        """Whether every dataset of the service was searched; if not, more may be found later."""
        return bool(self._page.get("complete", True))

    @property
    def indexed_at(self) -> str | None:
        """When the service last looked at its datasets, ISO 8601."""
        told = self._page.get("indexed_at")
        return None if told is None else str(told)

    def __len__(self) -> int:
        return int(self._page["total"])

    def __iter__(self) -> Iterator["Dataset"]:
        page = self._page
        while True:
            yield from (self.catalog._dataset(value) for value in page["datasets"])
            if not page.get("next"):
                return
            page = self._ask(cursor=str(page["next"]))

    def __getitem__(self, key: int | slice) -> Any:  # noqa: ANN401 - a dataset, or a list of them
        """Return a dataset by its place, or a list of those in a slice.

        Raises
        ------
        IndexError
            So many were not found.
        """
        count = len(self)
        if isinstance(key, int) and not -count <= key < count:
            asked = " ".join(f"{name}={value!r}" for name, value in self.query.items())
            found = f"{count or 'no'} dataset{'s' * (count != 1)} of {self.catalog.url}"
            raise IndexError(f"dataset {key}: {found} {asked} found".replace("  ", " "))
        places = range(count)[key]
        if isinstance(places, int):
            return self._at(places)
        return [self._at(place) for place in places]

    def __repr__(self) -> str:
        asked = " ".join(f"{name}={value!r}" for name, value in self.query.items())
        shown = self._page["datasets"][:_SHOWN]
        lines = [f"  {self.catalog._dataset(value)!r}" for value in shown]
        rest = len(self) - len(shown)
        lines += [f"  … {rest} more"] * (rest > 0)
        state = "" if self.complete else ", not all looked at yet"
        count = f"{len(self)} dataset{'s' * (len(self) != 1)}"
        head = f"{count} of {self.catalog.url} {asked}".rstrip()
        return "\n".join([f"<{head}{state}>", *lines])

    @property
    def _page(self) -> dict[str, Any]:
        """Return the first page, which is fetched once."""
        if not self._first:
            self._first.append(self._ask())
        return self._first[0]

    def _at(self, place: int) -> "Dataset":
        known = self._page["datasets"]
        if place < len(known):
            return self.catalog._dataset(known[place])
        found = self._ask(offset=str(place), limit="1")["datasets"]
        if not found:
            raise IndexError(f"dataset {place} is not there any more")
        return self.catalog._dataset(found[0])

    def _ask(self, **more: str) -> dict[str, Any]:
        page = self.catalog._ask({"limit": str(_PAGE), **self.query, **more})
        if not isinstance(page.get("total"), int):
            raise WrongAnswer(f"{self.catalog.url}: a list of datasets without their number")
        return page
