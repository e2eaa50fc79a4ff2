"""Pages for people: plain, safe, and useful without a script."""

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from microtome_core.names import DatasetId
from microtome_core.store.layer import ensure_groups
from microtome_core.store.location import Store

PAGES = ("/", "/demo/brain", "/demo/brain/neurons", "/demo/brain/cells", "/docs",
         "/download/demo/brain/neurons")  # fmt: skip


class Links(HTMLParser):
    """Collects what a page loads or leads to, and whether anything is inline."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one tag."""
        for name, value in attrs:
            if name in ("src", "href", "action"):
                self.found.append(value or "")
            if name == "style" or name.startswith("on"):
                self.inline.append(name)
        if tag == "style" or (tag == "script" and "src" not in dict(attrs)):
            self.inline.append(tag)


@pytest.fixture
def call(
    service_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> Any:  # noqa: ANN401 - the folder's own class
    """A caller of a store whose metadata tries to be HTML."""
    builder = make_builder(service_store)
    voxels = np.random.default_rng(0).integers(0, 200, (6, 20, 30), "uint16")
    evil = {
        "source_format": "<script>alert(1)</script>",
        "source_files": [{"name": "a<b>.tif", "size": 1200, "sha256": "0" * 64}],
        "conversion_history": [{"tool": "microtome", "version": "1", "timestamp": "2026-01-01"}],
    }
    builder.layer("demo/brain/neurons", "zyx", voxels, levels=2, record=evil)
    builder.layer("demo/brain/cells", "zyx", voxels, labels_of="neurons")
    return connect(service_store)


@pytest.mark.parametrize("page", PAGES)
def test_pages_load_nothing_foreign_and_every_link_leads_somewhere(
    page: str,
    call: Any,  # noqa: ANN401 - the folder's own class
) -> None:
    """The policy forbids inline and foreign parts, the page has none, and no link is dead."""
    answer = call.get(page)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    links = Links()
    links.feed(answer.text)
    assert not links.inline
    for link in links.found:
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in answer.text
            continue
        assert link.startswith("/"), link
        assert call.get(link).status_code == 200, link


def test_words_from_files_stay_words(call: Any) -> None:  # noqa: ANN401 - the folder's own class
    """What a file says of itself is shown, never obeyed; so is what the caller types."""
    page = call.get("/demo/brain/neurons").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "a&lt;b&gt;.tif" in page
    search = call.get("/", params={"q": '"><script>alert(2)</script>'}).text
    assert "<script>alert" not in search


def test_a_layer_page_says_what_is_needed_to_use_it(call: Any) -> None:  # noqa: ANN401 - the folder's own class
    """Axes, shape, type, voxel size, version, and snippets with the address of this host."""
    page = call.get("/demo/brain/neurons", headers={"Host": "brains.example:8000"}).text
    for words in ("zyx", "6 × 20 × 30", "uint16", "z 2 µm", "channel 0", "microtome.open("):
        assert words in page
    assert "http://brains.example:8000/demo/brain/neurons" in page
    assert "http://brains.example:8000/api/datasets/demo/brain/neurons/cutout?level=0" in page
    assert "http://brains.example:8000/zarr/demo/brain/neurons" in page
    assert "precomputed://http://brains.example:8000/precomputed/demo/brain/neurons" in page


def test_no_page_installs_by_a_name_that_is_not_ours(call: Any) -> None:  # noqa: ANN401 - the folder's own class
    """The client comes from a checkout, as one place says to which the pages lead."""
    for page in PAGES:
        assert "install microtome" not in call.get(page).text
        assert "install &#39;microtome" not in call.get(page).text
    assert 'href="/docs#client"' in call.get("/demo/brain/neurons").text
    docs = call.get("/docs").text
    assert 'id="client"' in docs
    assert "<code>pip install .</code>" in docs


def test_the_curl_line_of_a_page_works(call: Any) -> None:  # noqa: ANN401 - the folder's own class
    """The address that a page prints for curl answers with a TIFF."""
    page = call.get("/demo/brain/neurons").text
    url = page.split("curl --fail -o neurons.tif &#34;")[-1]
    url = url.split("&#34;")[0].replace("&amp;", "&").removeprefix("http://test")
    assert call.get(url).headers["content-type"] == "image/tiff"


def test_the_slice_moves_without_a_script(call: Any) -> None:  # noqa: ANN401 - the folder's own class
    """The form's own parameters choose plane and slice; too large an index is the last slice."""
    page = call.get("/demo/brain/neurons?plane=yz&index=29").text
    assert "/tiles/yz/0/29/0/0.webp" in page
    assert "/tiles/xy/0/5/0/0.webp" in call.get("/demo/brain/neurons?index=999").text


def test_only_axes_with_positions_have_a_slider(
    service_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Time has a slider of its own; an axis of extent 1, or none, has no slider and no plane."""
    builder = make_builder(service_store)
    builder.layer("demo/brain/film", "tyx", np.ones((5, 8, 8), "uint8"))
    builder.layer("demo/brain/flat", "zyx", np.ones((1, 8, 8), "uint8"))
    builder.layer("demo/brain/both", "tzyx", np.ones((5, 6, 8, 8), "uint8"))
    call = connect(service_store)
    film = call.get("/demo/brain/film?t=4").text
    assert 'name="t"' in film
    assert 'name="index"' not in film
    assert "/tiles/xy/0/0/0/0.webp?size=1024&amp;t=4" in film
    flat = call.get("/demo/brain/flat").text
    assert 'name="index"' not in flat
    assert 'name="plane"' not in flat
    both = call.get("/demo/brain/both?plane=xz&index=7&t=99").text
    assert all(f'name="{name}"' in both for name in ("plane", "index", "t"))
    assert "/tiles/xz/0/7/0/0.webp?size=1024&amp;t=4" in both


def test_labels_and_their_image_lead_to_each_other(call: Any) -> None:  # noqa: ANN401 - the folder's own class
    """The image's page lists its labels, the labels' page names their image."""
    assert '<a href="/demo/brain/cells">cells</a>' in call.get("/demo/brain/neurons").text
    labels = call.get("/demo/brain/cells").text
    assert 'labels of <a href="/demo/brain/neurons">neurons</a>' in labels


def test_the_api_page_says_what_values_are_allowed(call: Any) -> None:  # noqa: ANN401 - the folder's own class
    """Formats, planes and ranges are listed, and code is code rather than between backticks."""
    page = call.get("/docs").text
    for words in ("npy, raw, blosc", "xy, xz, yz", "16 to 1024", "<code>start:stop</code>"):
        assert words in page
    assert "`" not in page


def test_a_public_address_wins_over_the_hosts(
    service_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Behind a proxy the pages print the address that the operator gave."""
    make_builder(service_store).layer("demo/brain/neurons", "yx", np.ones((4, 4), "uint8"))
    call = connect(service_store, public_url="https://brains.example/", title="Our brains")
    page = call.get("/demo/brain/neurons").text
    assert 'microtome.open("https://brains.example/demo/brain/neurons")' in page.replace(
        "&#34;", '"'
    )
    assert "Our brains" in page


@pytest.mark.parametrize(
    "record",
    [
        {"source_files": [{"name": "<b>a.tif", "size": 10**400, "sha256": ["<b>"]}]},
        {"source_files": {"name": "a.tif"}, "conversion_history": {"tool": "a"}},
        {"source_files": "a.tif", "conversion_history": 5},
        {"source_files": [5, None, "a.tif"], "conversion_history": [["a"]]},
        {"source_format": {"<b>": 1}, "conversion_history": [{"tool": {"<b>": 1}}, {}]},
    ],
)
def test_a_page_bears_a_record_of_any_form(
    record: dict[str, Any],
    service_store: Store,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
) -> None:
    """What other software wrote in the record's place neither fails the page nor becomes markup."""
    voxels = np.ones((4, 4), "uint8")
    make_builder(service_store).layer("demo/brain/neurons", "yx", voxels, record=record)
    answer = connect(service_store).get("/demo/brain/neurons")
    assert answer.status_code == 200
    assert "<b>" not in answer.text


@pytest.mark.parametrize("url", ["/demo/none", "/demo/brain/none", "/api/brain", "/nowhere"])
def test_browsers_get_errors_as_pages_and_programs_as_problems(
    url: str,
    call: Any,  # noqa: ANN401 - the folder's own class
) -> None:
    """The same 404 is HTML for who accepts it, and a problem document else."""
    page = call.get(url, headers={"Accept": "text/html"})
    plain = call.get(url)
    assert (page.status_code, plain.status_code) == (404, 404)
    assert plain.headers["content-type"] == "application/problem+json"
    if not url.startswith("/api/"):
        assert page.headers["content-type"].startswith("text/html")
        assert "content-security-policy" in page.headers


def test_an_empty_store_has_an_empty_page(
    service_store: Store, connect: Callable[..., Any]
) -> None:
    """Before the first ingest the catalog has no dataset, and says how to add one."""
    call = connect(service_store)
    page = call.get("/").text
    assert "<strong>0</strong> datasets" in page
    assert "microtome ingest SOURCE ROOT --as collection/dataset/layer" in page
    assert "microtome ingest" not in call.get("/?q=brain").text
    assert call.get("/api/datasets").json()["datasets"] == []


def test_a_dataset_with_nothing_in_it_is_not_cited(
    service_store: Store, connect: Callable[..., Any]
) -> None:
    """What is only begun leads to the jobs."""
    ensure_groups(service_store, DatasetId("demo", "begun"))
    page = connect(service_store).get("/demo/begun").text
    assert "BibTeX" not in page
    assert "Nothing is here yet" in page


def test_a_plane_has_one_side(
    service_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """What has no depth is not said to be shown from three sides; its dyes are told."""
    dye = {"indicator": "EYFP", "emission_wavelength_in_nm": 527.0}
    record = {"channels": [{"name": "yellow", **dye}]}
    plane = np.ones((8, 8), "uint8")
    make_builder(service_store).layer("demo/brain/flat", "yx", plane, record=record)
    call = connect(service_store)
    assert "three sides" not in call.get("/demo/brain").text
    layer = call.get("/demo/brain/flat").text
    assert "<td>EYFP</td>" in layer
    assert "<td>527 nm</td>" in layer
