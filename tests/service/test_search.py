"""Search over records: what is found, what is hidden, and how new the answers are."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microtome_core.names import DatasetId
from microtome_core.store.location import Store
from microtome_service.auth import records
from microtome_service.auth.database import Database
from microtome_service.auth.roles import EVERYWHERE, Role
from microtome_service.auth.rules import Rules, Subject
from microtome_service.catalog import Catalog
from microtome_service.principal import Principal
from microtome_service.search import kept
from microtome_service.search.asked import Asked
from microtome_service.search.held import Held
from microtome_service.search.index import Index
from microtome_service.search.question import search
from microtome_service.view import View

VOXELS = np.arange(60, dtype="uint8").reshape(3, 4, 5)
LIST = "/api/datasets"


def _record(species: str, sex: str, *, channel: str, technique: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "subject": {"species": species, "sex": sex},
        "channels": [{"name": channel, "indicator": {"name": f"{channel}-dye"}}],
        "microscopy_rig": {"microscope": {"technique": technique}},
        "license": "CC-BY-4.0",
        **more,
    }


RECORDS: dict[str, dict[str, Any]] = {
    "mouse/cortex/em": _record(
        "Mus musculus", "F", channel="GFP", technique="confocal", keywords=["Purkyně", "小鼠大脑"]
    ),
    "mouse/cortex/wide": _record("Mus musculus", "M", channel="RFP", technique="light sheet"),
    "mouse/striatum/em": _record("mouse", "F", channel="GFP", technique="light-sheet"),
    "rat/cortex/em": _record("Rattus norvegicus", "M", channel="gfp", technique="confocal"),
    "zoo/strange/em": {
        "subject": ["no", {"object": 5}],
        "channels": "none",
        "license": {"name": 4},
    },
    "zoo/empty/em": {},
}


@pytest.fixture(scope="module")
def searched_store(make_builder: Callable[..., Any]) -> Store:
    """A store of six layers in five datasets."""
    store = Store("memory://search")
    builder = make_builder(store)
    for address, record in RECORDS.items():
        large = 4 if address == "rat/cortex/em" else 1
        builder.layer(address, "zyx", np.tile(VOXELS, (large, 1, 1)), record=record)
    return store


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database of each kind."""
    with Database(database_url) as made:
        made.upgrade()
        yield made


@pytest.fixture
def searched(
    searched_store: Store, database: Database, connect: Callable[..., Any], database_url: str
) -> Any:  # noqa: ANN401 - the folder's own class
    """A caller of a service that keeps its index in the database."""
    return connect(searched_store, database_url=database_url)


def _ids(answer: Any) -> list[str]:  # noqa: ANN401 - httpx's own
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["datasets"]]


FOUND = {
    "": ["mouse/cortex", "mouse/striatum", "rat/cortex", "zoo/empty", "zoo/strange"],
    "q=cortex": ["mouse/cortex", "rat/cortex"],
    "q=CORT MOUSE": ["mouse/cortex"],
    "q=ort": ["mouse/cortex", "rat/cortex"],
    "q=musculus": ["mouse/cortex"],
    "q=mouse": ["mouse/cortex", "mouse/striatum"],
    "q=purkyne": ["mouse/cortex"],
    "q=PURKYNĚ": ["mouse/cortex"],
    "q=大脑": ["mouse/cortex"],
    "q=gfp-dye": ["mouse/cortex", "mouse/striatum", "rat/cortex"],
    "q=GFP confocal rat": ["rat/cortex"],
    "q=nothing-of-it": [],
    "species=mouse": ["mouse/cortex", "mouse/striatum"],
    "species=MUS MUSCULUS": ["mouse/cortex", "mouse/striatum"],
    "sex=f": ["mouse/cortex", "mouse/striatum"],
    "sex=male": ["mouse/cortex", "rat/cortex"],
    "species=mouse&sex=M&channel=RFP": ["mouse/cortex"],
    "sex=M&channel=GFP": ["rat/cortex"],
    "technique=light sheet": ["mouse/cortex", "mouse/striatum"],
    "technique=con-focal": ["mouse/cortex", "rat/cortex"],
    "technique=of nobody": [],
    "species=http://purl.obolibrary.org/obo/NCBITaxon_10116": ["rat/cortex"],
    "sex=xx": [],
    "channel=gfp dye": ["mouse/cortex", "mouse/striatum", "rat/cortex"],
    "license=cc by 4.0": ["mouse/cortex", "mouse/striatum", "rat/cortex"],
    "license=CC-BY-4.0&kind=labels": [],
    "min_size=100": ["rat/cortex"],
    "max_size=0.1kB&collection=mouse": ["mouse/cortex", "mouse/striatum"],
    "kind=image&collection=zoo": ["zoo/empty", "zoo/strange"],
    "sort=-name": ["zoo/strange", "zoo/empty", "rat/cortex", "mouse/striatum", "mouse/cortex"],
    "sort=-size&limit=2": ["rat/cortex", "mouse/cortex"],
    "sort=size&offset=3": ["mouse/cortex", "rat/cortex"],
}


def test_words_and_filters_find_what_fits(searched: Any) -> None:  # noqa: ANN401 - the folder's own class
    """Words are of names and records; the other filters are met together by one layer."""
    assert {asked: _ids(searched.get(f"{LIST}?{asked}")) for asked in FOUND} == FOUND


def test_a_page_leads_to_the_next(searched: Any) -> None:  # noqa: ANN401 - the folder's own class
    """Cursors lead through everything once, in every order; the total stays the same."""
    for sort in ("name", "-name", "size", "-size", "changed", "-changed"):
        seen, url = [], f"{LIST}?sort={sort}&limit=2"
        for _ in range(3):
            page = searched.get(url).json()
            assert page["total"] == 5
            seen += [each["id"] for each in page["datasets"]]
            url = f"{LIST}?sort={sort}&limit=2&cursor={page['next']}"
        assert page["next"] is None
        assert seen == _ids(searched.get(f"{LIST}?sort={sort}"))
        assert sorted(seen) == FOUND[""]


def test_facets_count_datasets_by_value(searched: Any) -> None:  # noqa: ANN401 - the folder's own class
    """Each value is counted once a dataset, however it is spelt, among those that were found."""
    facets = searched.get(f"{LIST}?facets=true").json()["facets"]
    assert facets["species"] == [
        {"value": "Mus musculus", "count": 2},
        {"value": "Rattus norvegicus", "count": 1},
    ]
    assert [each["count"] for each in facets["technique"]] == [2, 2]
    assert facets["license"] == [{"value": "CC-BY-4.0", "count": 3}]
    few = searched.get(f"{LIST}?facets=true&q=striatum").json()["facets"]
    assert few["sex"] == [{"value": "F", "count": 1}]
    assert searched.get(LIST).json()["facets"] is None


BAD = {
    "species=-": "species", "channel=%20": "channel", "min_size=many": "min_size",
    "max_size=-1": "max_size", "min_size=9999999TB": "min_size", "kind=No": "kind",
    "kind=banana": "kind='banana': expected one of image, labels, recording",
    "sex=feminine": "sex='feminine': expected one of M, F, O, U, XO, XX, male, female",
    "collection=A B": "collection", "sort=best": "sort", "cursor=x": "cursor",
    "cursor=WyJuYW1lIiwgIkEiLCAiYiJd": "cursor",
    "offset=1&cursor=WyJuYW1lIiwgImEiLCAiYiJd": "offset",
    "sort=size&cursor=WyJuYW1lIiwgImEiLCAiYiJd": "cursor", "speciez=mouse": "speciez",
    "q=a&q=b": "q", f"q={'+'.join('abcdefghijklmnopq')}": "q",
}  # fmt: skip


def test_a_bad_parameter_is_named(searched: Any) -> None:  # noqa: ANN401 - the folder's own class
    """It is 400, and the detail names the parameter."""
    for asked, name in BAD.items():
        answer = searched.get(f"{LIST}?{asked}")
        assert (answer.status_code, answer.json()["error"]) == (400, "InputError"), asked
        assert name in answer.json()["detail"]


HOSTILE = (
    "\"", "'", "*", '" OR "a', "a* NEAR b", "cortex OR 1=1 --",
    "'); DROP TABLE search_datasets; --",
    "words:a", "^a", "a & !b | c", "a:*", "\\", "%", "_", "\0", "a\0b", "\ud7ff", "\U0010ffff",
    "ﷺ", "İ", "ǅ", "\u0301", "(((", "{a b}", "-", "col : x", "𝔠𝔬𝔯𝔱𝔢𝔵", "\U0001fae8", "ੴ",
)  # fmt: skip


def test_words_are_never_a_language(searched: Any) -> None:  # noqa: ANN401 - the folder's own class
    """What means something in SQL or to a full-text index is text like any other."""
    for text in HOSTILE:
        for name in ("q", "channel", "technique"):
            answer = searched.get(LIST, params={name: text})
            assert answer.status_code in (200, 400), (name, text, answer.text)
            if answer.status_code == 200:
                assert set(_ids(answer)) <= set(FOUND[""])
    assert _ids(searched.get(LIST, params={"q": "%"})) == []
    assert _ids(searched.get(LIST, params={"q": "𝔠𝔬𝔯𝔱𝔢𝔵"})) == ["mouse/cortex", "rat/cortex"]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(max_size=60))
def test_any_text_may_be_searched_for(plain_index: Callable[..., Any], text: str) -> None:
    """No text is an error of the index, and adding words never finds more."""
    asked = tuple(text.casefold().split())[:15]
    found = [plain_index(Asked(words=words)).total for words in ((), asked, (*asked, "cortex"))]
    assert found == sorted(found, reverse=True)
    assert found[0] == len(FOUND[""])


@pytest.fixture
def plain_index(searched_store: Store, database: Database) -> Iterator[Callable[..., Any]]:
    """What asks an index that is up to date: `ask(asked, rules, principal)`."""
    catalog = Catalog(searched_store, 0.0)
    index = Index(searched_store, catalog, database, 0.0, 1.0)
    index.rebuild()
    held = Held()

    def ask(asked: Asked, rules: Rules | None = None, principal: Principal | None = None) -> Any:  # noqa: ANN401 - Found
        with database.read() as connection:
            return search(
                connection,
                kept.root_key(searched_store.url),
                asked,
                rules or Rules(),
                principal or Principal("anonymous"),
                held,
            )

    yield ask
    index.close()
    catalog.close()


PLACES = st.sampled_from(["mouse", "rat", "zoo", "mouse/cortex", "rat/cortex", "zoo/empty", "a/b"])
ROLES = st.dictionaries(PLACES | st.just(EVERYWHERE), st.sampled_from(list(Role)), max_size=3)
SUBJECTS = st.sampled_from(
    [Subject("user", "ann"), Subject("group", "lab"), Subject("authenticated", "")]
)
RULES = st.builds(
    Rules,
    st.booleans(),
    st.dictionaries(PLACES, st.booleans(), max_size=4),
    st.dictionaries(SUBJECTS, ROLES, max_size=3),
)
PRINCIPALS = st.one_of(
    st.just(Principal("anonymous")),
    st.builds(Principal, st.just("key:ci"), own=ROLES),
    st.builds(
        Principal,
        st.sampled_from(["ann", "bob"]),
        groups=st.frozensets(st.sampled_from(["lab", "ann"])),
        signed_in=st.just(True),
    ),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rules=RULES, principal=PRINCIPALS)
def test_search_shows_what_the_view_shows(
    plain_index: Callable[..., Any], rules: Rules, principal: Principal
) -> None:
    """By any rules, results, total and facets are of the datasets that a caller may see."""
    view = View(Any, principal, rules)  # type: ignore[arg-type] - nothing is looked up
    seen = [name for name in FOUND[""] if view.sees(DatasetId(*name.split("/")))]
    found = plain_index(Asked(facets=True, limit=200), rules, principal)
    assert [str(hit.id) for hit in found.hits] == seen
    assert found.total == len(seen)
    mice = sum(name.startswith("mouse") for name in seen)
    counts = dict((found.facets or {})["species"])
    assert sum(n for value, n in counts.items() if value != "Rattus norvegicus") == mice
    assert counts.get("Rattus norvegicus", 0) == ("rat/cortex" in seen)


def test_private_datasets_are_in_no_count(searched: Any, database: Database) -> None:  # noqa: ANN401 - the folder's own class
    """What a caller may not see is missing from pages, totals and facets; a key shows it."""
    with database.write() as connection:
        records.set_visibility(connection, "mouse/cortex", False)
        _, key = records.create_key(connection, "ci", Role.READER, "mouse", None)
    url = f"{LIST}?species=mouse&facets=true"
    hidden = searched.get(url)
    shown = searched.get(url, headers={"Authorization": f"Bearer {key}"}).json()
    assert (hidden.json()["total"], shown["total"]) == (1, 2)
    assert hidden.json()["facets"]["sex"] == [{"value": "F", "count": 1}]
    assert "cortex" not in hidden.text
    assert shown["facets"]["channel"][-1] == {"value": "RFP-dye", "count": 1}


def test_what_lists_say_is_what_a_dataset_says(searched: Any) -> None:  # noqa: ANN401 - the folder's own class
    """A dataset in a list is the document of the dataset itself."""
    for listed in searched.get(LIST).json()["datasets"]:
        assert searched.get(listed["links"]["self"]).json() == listed


def test_a_small_store_is_searched_as_it_is_now(
    make_builder: Callable[..., Any],
    disk_store: Store,
    connect: Callable[..., Any],
    database_url: str,
) -> None:
    """What is published, changed or removed is found so at once."""
    with Database(database_url) as database:
        database.upgrade()
    builder, call = make_builder(disk_store), connect(disk_store, database_url=database_url)
    assert _ids(call.get(LIST)) == []
    builder.layer("demo/brain/em", "zyx", VOXELS, record={"license": "CC0"})
    assert _ids(call.get(f"{LIST}?license=cc0")) == ["demo/brain"]
    disk_store.delete("demo/brain/em")
    builder.layer("demo/brain/em", "zyx", VOXELS, record={"license": "MIT"})
    assert _ids(call.get(f"{LIST}?license=cc0")) == []
    assert _ids(call.get(f"{LIST}?license=mit")) == ["demo/brain"]
    builder.layer("demo/brain/cells", "zyx", VOXELS, labels_of="em")
    assert _ids(call.get(f"{LIST}?kind=labels")) == ["demo/brain"]
    disk_store.delete("demo/brain")
    answer = call.get(LIST).json()
    assert (answer["datasets"], answer["total"], answer["complete"]) == ([], 0, True)


def test_stores_do_not_mix_in_one_database(
    make_builder: Callable[..., Any],
    searched: Any,  # noqa: ANN401 - the folder's own class
    connect: Callable[..., Any],
    database_url: str,
) -> None:
    """Two services of different roots keep their indexes apart."""
    other = Store("memory://search-other")
    make_builder(other).layer("mouse/elsewhere/em", "zyx", VOXELS)
    call = connect(other, database_url=database_url)
    for _ in range(2):
        assert _ids(call.get(LIST)) == ["mouse/elsewhere"]
        assert _ids(searched.get(LIST)) == FOUND[""]


def test_until_a_store_was_looked_through_answers_say_so(
    searched_store: Store, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are read off the store itself, filters find what was seen so far; both say so."""
    monkeypatch.setattr("microtome_service.search.index._FIRST", 0.0)
    call = connect(searched_store)
    index = call.app.state.service.index
    index._passes.submit(lambda: index._closing.wait(20))
    first = call.get(f"{LIST}?q=cortex").json()
    assert [each["id"] for each in first["datasets"]] == ["mouse/cortex", "rat/cortex"]
    assert (first["complete"], first["indexed_at"]) == (False, None)
    page = call.get(f"{LIST}?limit=3").json()
    rest = call.get(f"{LIST}?limit=3&cursor={page['next']}").json()
    assert [d["id"] for d in page["datasets"] + rest["datasets"]] == FOUND[""]
    filtered = call.get(f"{LIST}?species=mouse").json()
    assert (filtered["total"], filtered["complete"]) == (0, False)


def test_without_the_database_names_are_listed(
    searched_store: Store,
    connect: Callable[..., Any],
    tmp_path: Any,  # noqa: ANN401 - pytest's own
) -> None:
    """A database that fails makes filters 503, while datasets are still listed by name."""
    url = f"sqlite:///{tmp_path}/access.sqlite"
    with Database(url) as database:
        database.upgrade()
    call = connect(searched_store, database_url=url)
    assert _ids(call.get(LIST)) == FOUND[""]
    (tmp_path / "access.sqlite").write_bytes(b"no database" * 1000)
    listed = call.get(LIST)
    assert (_ids(listed), listed.json()["complete"]) == (FOUND[""], False)
    assert call.get(f"{LIST}?species=mouse").status_code == 503
