"""``microtome database reindex``: the index of search made anew from the store."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from microtome_cli.main import main
from microtome_core.store.location import Store
from microtome_service.auth.database import Database, default_url
from microtome_service.search import kept
from tests.service import conftest as service

VOXELS = np.ones((2, 3, 4), "uint8")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two datasets, which no variable of the caller names."""
    for name in ("MICROTOME_ROOT", "MICROTOME_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    builder = service.StoreBuilder(Store(str(tmp_path / "root")))
    for name, species in (("one", "Mus musculus"), ("two", "Danio rerio")):
        record: dict[str, Any] = {"subject": {"species": species}}
        builder.layer(f"demo/{name}/em", "zyx", VOXELS, record=record)
    return tmp_path / "root"


def _kept(root: Path) -> dict[str, str]:
    with Database(default_url(f"file://{root}") or "") as database, database.read() as connection:
        return kept.read_digests(connection, kept.root_key(f"file://{root}"))


def test_reindex_makes_an_index_that_a_service_searches(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file beside the root is made; a service finds by it what the records say."""
    assert main(["database", "reindex", str(root)]) == 0
    told = capsys.readouterr().out
    assert f"{root}.access.sqlite: 2 datasets of file://{root} in " in told
    assert sorted(_kept(root)) == ["demo/one", "demo/two"]
    store = Store(str(root))
    with service.running(service.create_app(service.settings_for(store), store)) as address:
        answer = httpx.get(f"{address}/api/datasets?species=mouse&facets=true").json()
    assert [dataset["id"] for dataset in answer["datasets"]] == ["demo/one"]
    assert answer["facets"]["species"] == [{"value": "Mus musculus", "count": 1}]


def test_reindex_mends_an_index_that_says_something_else(root: Path) -> None:
    """What is kept is believed by no digest: rows that are wrong, missing or left over are gone."""
    assert main(["database", "reindex", str(root)]) == 0
    before = _kept(root)
    with Database(default_url(f"file://{root}") or "") as database:
        with database.write() as connection:
            connection.exec_driver_sql("UPDATE search_terms SET term = 'felis catus'")
            connection.exec_driver_sql("DELETE FROM search_datasets WHERE name = 'two'")
            connection.exec_driver_sql(
                "INSERT INTO search_datasets (root, collection, name, place, digest, nbytes, "
                "changed, annotations) SELECT root, collection, 'gone', 'demo/gone', '', 1, '', "
                "'[]' FROM search_datasets"
            )
        assert main(["database", "reindex", str(root)]) == 0
        with database.read() as connection:
            terms = connection.exec_driver_sql(
                "SELECT term FROM search_terms, search_datasets WHERE key = dataset "
                "AND field = 'species' ORDER BY term"
            )
            assert [row[0] for row in terms] == ["danio rerio", "mus musculus"]
    assert _kept(root) == before


def test_a_root_that_is_not_there_leaves_an_index_alone(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is an error that names it, and no store without datasets."""
    assert main(["database", "reindex", str(root)]) == 0
    before = _kept(root)
    moved = root.rename(root.with_name("away"))
    assert main(["database", "reindex", str(root)]) != 0
    assert str(root) in capsys.readouterr().err
    moved.rename(root)
    assert set(_kept(root)) == set(before)
