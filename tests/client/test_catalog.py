"""Finding datasets of a real service: pages to the end, counts, what is refused, and opening."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import microtome
from microtome import Catalog
from microtome.errors import AccessDenied, InputError, NotFound, SearchRefused
from microtome_core.store.location import Store
from microtome_service.auth import records
from microtome_service.auth.database import Database
from microtome_service.auth.roles import Role
from tests.service import conftest as service

VOXELS = np.arange(60, dtype="uint8").reshape(3, 4, 5)
COUNT = 7
NAMES = [f"demo/brain{number}" for number in range(COUNT)]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A service of eight datasets, of which one is private, and a key to that."""
    store = Store("memory://catalog")
    builder = service.StoreBuilder(store)
    for number, name in enumerate(NAMES):
        record: dict[str, Any] = {
            "subject": {"species": "Mus musculus" if number % 2 else "Danio rerio", "sex": "F"},
            "channels": [{"name": "EGFP"}],
        }
        large = np.tile(VOXELS, (number + 1, 1, 1))
        builder.layer(f"{name}/em", "zyx", large, record=record)
    builder.layer(f"{NAMES[-1]}/cells", "zyx", np.tile(VOXELS, (7, 1, 1)), labels_of="em")
    builder.layer("secret/brain/em", "zyx", VOXELS, record={"subject": {"species": "Felis catus"}})
    database_url = f"sqlite:///{tmp_path_factory.mktemp('catalog')}/access.sqlite"
    with Database(database_url) as database:
        database.upgrade()
        with database.write() as connection:
            records.set_visibility(connection, "secret", False)
            _, key = records.create_key(connection, "ci", Role.READER, "secret", None)
    app = service.create_app(service.settings_for(store, database_url=database_url), store)
    with service.running(app) as address:
        yield address, key


@pytest.fixture
def url(house: tuple[str, str]) -> str:
    """The address of the service."""
    return house[0]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of JSON that are asked for, in order."""
    told: list[str] = []
    real = microtome.catalog.Transport.json

    def json(self: Any, address: str, *args: Any) -> Any:  # noqa: ANN401 - as the method itself
        told.append(address)
        return real(self, address, *args)

    monkeypatch.setattr(microtome.catalog.Transport, "json", json)
    return told


def test_nothing_is_fetched_before_it_is_looked_at(url: str, asked: list[str]) -> None:
    """A search is a light object; its first page is fetched once."""
    found = Catalog(url).search("brain", species="mouse")
    assert asked == []
    assert len(found) == 3
    assert [dataset.id for dataset in found] == NAMES[1::2]
    assert len(asked) == 1


@pytest.mark.parametrize("sort", ["name", "-name", "size", "-size", "changed"])
def test_pages_lead_through_everything_once(
    url: str, asked: list[str], monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    """By cursors, a page after the other, to the end, in every order."""
    monkeypatch.setattr("microtome.catalog._PAGE", 3)
    found = Catalog(url).search(sort=sort)
    ids = [dataset.id for dataset in found]
    assert ids == (NAMES[::-1] if sort.startswith("-") else NAMES)
    assert ["cursor=" in address for address in asked] == [False, True, True]
    assert ids == [dataset.id for dataset in found[:]]


def test_results_are_indexed_like_a_list(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From both ends, by slices, beyond the first page; what is not there is an IndexError."""
    monkeypatch.setattr("microtome.catalog._PAGE", 2)
    found = Catalog(url).datasets()
    assert (found[0].id, found[-1].id, found[5].id) == (NAMES[0], NAMES[-1], NAMES[5])
    assert [dataset.id for dataset in found[1:6:2]] == NAMES[1:6:2]
    with pytest.raises(IndexError, match=f"dataset {COUNT}: {COUNT} datasets of "):
        found[COUNT]
    with pytest.raises(IndexError, match=r"dataset 0: no datasets of .* q='zzzz' found"):
        Catalog(url).search("zzzz")[0]


def test_facets_count_what_a_search_finds(url: str) -> None:
    """By field, the most frequent first; of everything, and of what a filter leaves."""
    catalog = Catalog(url)
    facets = catalog.facets()
    assert facets["species"] == {"Danio rerio": 4, "Mus musculus": 3}
    assert list(facets["species"]) == ["Danio rerio", "Mus musculus"]
    assert (facets["sex"], facets["license"]) == ({"F": COUNT}, {})
    assert catalog.facets(species="mouse")["species"] == {"Mus musculus": 3}
    assert catalog.facets("nothing of it")["species"] == {}


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"sort": "foo"}, "sort='foo': expected one of name, -name"),
        ({"kind": "banana"}, "kind='banana': expected one of image, labels, recording"),
        ({"sex": "feminine"}, "sex='feminine': expected one of M, F"),
        ({"min_size": "many"}, "min_size='many'"),
        ({"collection": "A B"}, "collection"),
    ],
)
@pytest.mark.parametrize("look", [list, len, repr, lambda found: found[0]])
def test_what_the_service_does_not_know_is_no_index_error(
    url: str, filters: dict[str, str], words: str, look: Callable[[Any], object]
) -> None:
    """However the results are looked at, it is an InputError that names the words known."""
    found = Catalog(url).search(**filters)
    with pytest.raises(SearchRefused, match=words) as caught:
        look(found)
    assert isinstance(caught.value, InputError)
    assert not isinstance(caught.value, IndexError)


def test_a_filter_that_there_is_not_is_refused_at_once(url: str, asked: list[str]) -> None:
    """Before anything is asked, with those that there are."""
    with pytest.raises(InputError, match="'speces' is unknown: expected species, sex"):
        Catalog(url).search(speces="mouse")
    assert asked == []


def test_what_was_found_opens_as_a_volume(url: str) -> None:
    """A layer says what it is before, and its voxels are those of the store."""
    (dataset,) = Catalog(url).search("brain6")
    assert [(layer.name, layer.kind) for layer in dataset.layers] == [
        ("em", "image"),
        ("cells", "labels"),
    ]
    assert dataset.about["species"] == ("Danio rerio",)
    assert "(21, 4, 5) uint8" in repr(dataset["em"])
    np.testing.assert_array_equal(dataset["em"].open()[:], np.tile(VOXELS, (7, 1, 1)))
    np.testing.assert_array_equal(dataset["cells"].open()[3], VOXELS[0])
    with pytest.raises(NotFound, match="no layer 'none': it has em, cells"):
        dataset["none"]


def test_a_dataset_is_looked_up_by_its_name(house: tuple[str, str]) -> None:
    """As in a mapping; one that is private is one that is absent."""
    url, key = house
    catalog = Catalog(url)
    assert catalog[NAMES[1]].layers == catalog.search("brain1")[0].layers
    with pytest.raises(NotFound):
        catalog["demo/none"]
    with pytest.raises(NotFound):
        catalog["secret/brain"]
    assert len(catalog) == COUNT
    shown = Catalog(url, token=key)
    assert [dataset.id for dataset in shown] == [*NAMES, "secret/brain"]
    assert shown.facets()["species"]["Felis catus"] == 1
    with pytest.raises(AccessDenied):
        len(Catalog(url, token="mt_unknown_key"))


def test_results_tell_how_complete_they_are(url: str) -> None:
    """And how many more there are than are shown."""
    found = Catalog(url).search("brain")
    assert found.complete
    assert (found.indexed_at or "").startswith("20")
    assert repr(found).startswith(f"<7 datasets of {url} q='brain'>\n  <microtome.Dataset demo/")
