"""The pages in a real browser, before the real service: seen, used by hand and by keyboard, and
looked through by axe-core. Screenshots are kept where MICROTOME_SHOTS says.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from microtome_cli.main import main
from tests.browser import AXE, VIEWER, Trouble, missing, pages
from tests.contract.conftest import running
from tests.oidc_issuer import CLIENT, issuing
from tests.sensorium_folders import Mouse, write_folder

pytestmark = pytest.mark.slow
# Each tries to be markup, to end an attribute, a script, an address or a template.
CORPUS = (
    "<script>window.pwned=1</script>",
    "\"><img src=x onerror='window.pwned=1'>",
    "' onmouseover='window.pwned=1' x='",
    "javascript:window.pwned=1",
    "</title><svg onload=window.pwned=1>",
    "{{ 7*191 }}{% raw %}",
    "<!--",
    "]]></textarea><b>",
)
SHAPE = (12, 40, 60)
HEAVIEST = 300_000
WEIGHT = """performance.getEntries().filter((each) => "transferSize" in each)
    .reduce((sum, each) => sum + each.transferSize, 0)"""
PATHS: Mapping[str, str] = {
    "catalog": "/", "found": "/?species=Mus+musculus&q=look", "nothing": "/?q=unobtainium",
    "dataset": "/look/brain", "layer": "/look/brain/grey", "labels": "/look/brain/ids",
    "download": "/download/look/brain/grey?level=0&z=2:5&format=nrrd",
    "recording": "/look/mouse/trials", "jobs": "/jobs", "api": "/docs", "signing": "/sign-in",
}  # fmt: skip
DEVICES: Mapping[str, Mapping[str, Any]] = {
    "desktop-light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "desktop-dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone-light": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
    "phone-dark": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}


@dataclass(frozen=True, slots=True)
class Site:
    """A service, and a page before it that notes what goes wrong."""

    url: str
    root: Path
    page: Page
    trouble: Trouble

    def open(self, path: str) -> Page:
        """Go to a page, and forget what went wrong before."""
        self.trouble.said.clear()
        self.page.goto(f"{self.url}{path}")
        self.page.wait_for_load_state("networkidle")
        return self.page


def _record(folder: Path) -> str:
    told = {
        "session_description": "one hemisphere", "license": "CC-BY-4.0", "doi": "10.1234/abc",
        "experimenter": ["Doe, Jane"], "keywords": ["neuron"],
        "subject": {"subject_id": "m7", "species": "Mus musculus", "sex": "F", "age": "P90D"},
    }  # fmt: skip
    (folder / "record.yaml").write_text(json.dumps(told))
    return str(folder / "record.yaml")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of a volume with labels, and a recording of trials."""
    folder = tmp_path_factory.mktemp("pages")
    dice = np.random.default_rng(3)
    record = _record(folder)
    np.save(folder / "grey.npy", dice.integers(0, 200, (2, *SHAPE)).astype("u2"))
    np.save(
        folder / "ids.npy",
        np.kron(dice.integers(0, 4, (3, 4, 5)), np.ones((4, 10, 12))).astype("u4"),
    )
    write_folder(folder / "mouse", Mouse(neurons=20, trials=8, height=18, width=32))
    store = str(folder / "root")
    sizes = ["--voxel-size", "z=2,y=0.5,x=0.5", "--metadata", record]
    for name, axes, more in (
        ("grey", "czyx", ["--channels", "EGFP,DAPI"]),
        ("ids", "zyx", ["--kind", "labels", "--labels-of", "grey"]),
    ):
        words = ["ingest", str(folder / f"{name}.npy"), store, "--as", f"look/brain/{name}"]
        assert main([*words, "--axes", axes, *sizes, *more]) == 0
    assert main(["ingest", str(folder / "mouse"), store, "--as", "look/mouse/trials"]) == 0
    return folder / "root"


@pytest.fixture(scope="module")
def site(root: Path, unused_port: Callable[[], int]) -> Iterator[Site]:
    """The service of it."""
    if why := missing():
        pytest.skip(why)
    # A machine that does other things beside needs a while.
    expect.set_options(timeout=20_000)
    with running(str(root), unused_port()) as url, pages() as (page, trouble):
        yield Site(url, root, page, trouble)


@contextmanager
def another(site: Site, **device: Any) -> Iterator[tuple[Page, Trouble]]:  # noqa: ANN401
    """Yield a page of somebody else, with cookies of their own."""
    browser = site.page.context.browser
    assert browser is not None
    context = browser.new_context(**device)
    page, trouble = context.new_page(), Trouble()
    trouble.watch(page)
    try:
        yield page, trouble
    finally:
        context.close()


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of pages are kept."""
    folder = Path(os.environ.get("MICROTOME_SHOTS") or tmp_path_factory.mktemp("shots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("device", DEVICES)
def test_every_page_is_seen_without_a_fault(site: Site, shots: Path, device: str) -> None:
    """No console error, failed request or other host; nothing is wider than the screen; light."""
    with another(site, **DEVICES[device]) as (page, trouble):
        for name, path in PATHS.items():
            page.goto(f"{site.url}{path}")
            page.wait_for_load_state("networkidle")
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= page.evaluate("innerWidth"), (name, width)
            assert page.evaluate(WEIGHT) < HEAVIEST, name
            page.screenshot(path=shots / f"{name}-{device}.png", full_page=True)
    assert trouble.said == []
    assert trouble.hosts <= {site.url.removeprefix("http://"), ""}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PATHS)
def test_axe_finds_nothing_serious(site: Site, name: str, scheme: Any) -> None:  # noqa: ANN401
    """Contrast, names, landmarks and order, by the rules of WCAG 2.1 A and AA."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed, see make viewer")
    site.page.emulate_media(color_scheme=scheme)
    page = site.open(PATHS[name])
    # Through the debugger, which the page's policy does not bind.
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [
        (each["id"], each["impact"], [node["html"][:160] for node in each["nodes"][:3]])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ] == []


def test_a_search_narrows_by_keyboard_alone(site: Site) -> None:
    """Skip link first; words and Enter; a filter is removed by its own link."""
    page = site.open("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.get_by_label("Search datasets").fill("grey")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("1 dataset")
    page.get_by_label("Species").select_option("Mus musculus")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Remove the filter species").click()
    assert "species" not in page.url
    page.get_by_role("link", name="brain").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("brain")
    assert site.trouble.said == []


def test_the_slice_follows_its_sliders(site: Site) -> None:
    """Place, channel and contrast change the tile that is shown, in place."""
    page = site.open("/look/brain/grey")
    image = page.locator("#slice")
    page.get_by_label("Position along z").fill("3")
    expect(image).to_have_attribute("src", re.compile(r"/tiles/xy/0/3/0/0\.webp"))
    page.get_by_label("EGFP", exact=True).uncheck()
    page.get_by_label("DAPI: value shown in full colour").fill("90")
    expect(image).to_have_attribute("src", re.compile(r"channels=1&window=[-\d.]+:90$"))
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.getElementById('slice').naturalWidth") == SHAPE[2]
    page.get_by_label("Plane").select_option("xz")
    page.wait_for_url("**plane=xz**")
    assert page.evaluate("document.getElementById('slice').naturalHeight") == SHAPE[0]
    assert site.trouble.said == []


def test_a_box_tells_its_size_while_it_is_chosen(site: Site, tmp_path: Path) -> None:
    """And what is wrong with it; what is downloaded is that box."""
    page = site.open("/look/brain/grey")
    form, said = page.locator("#boxing"), page.locator("#box-size")
    form.get_by_label("z", exact=True).fill("2:5")
    form.get_by_label("c", exact=True).fill("1")
    expect(said).to_contain_text("1 × 3 × 40 × 60 voxels, 14.4 kB")
    form.get_by_label("y", exact=True).fill("30:50")
    expect(said).to_contain_text("y: expected a range within 0:40")
    form.get_by_label("y", exact=True).fill(":")
    form.get_by_label("Format").select_option("npy")
    with page.expect_download() as waiting:
        form.get_by_role("button", name="Download").click()
    waiting.value.save_as(tmp_path / "box.npy")
    whole = np.load(site.root.parent / "grey.npy")
    assert np.array_equal(np.load(tmp_path / "box.npy"), whole[1, 2:5])


def test_a_trial_is_played_in_step(site: Site) -> None:
    """Cursor, clock and film move together; values withheld are told as such."""
    page = site.open("/look/mouse/trials")
    page.wait_for_selector("#stage[data-ready=yes]")
    film = "document.querySelector('.film canvas').toDataURL()"
    before = page.evaluate(film)
    page.get_by_role("slider", name="Sample").fill("9")
    expect(page.locator("#time")).to_contain_text("9 / ")
    assert page.evaluate(film) != before
    frames = int(page.locator("#stage").get_attribute("data-frames") or 0)
    left = page.locator(".cursor").first.evaluate("cursor => parseFloat(cursor.style.left)")
    assert left == pytest.approx(9.5 / frames * 100, abs=0.01)
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("slider", name="Sample")).not_to_have_value("9")
    page.get_by_role("button", name="Pause").click()
    drawn = "[...document.querySelectorAll('.track canvas')].every((canvas) => canvas.width > 1)"
    assert page.evaluate(drawn)
    tiers = site.page.request.get(f"{site.url}/api/datasets/look/mouse/trials/trials").json()
    hidden = next(t["trial"] for t in tiers["trials"] if t["responses_state"] == "withheld")
    site.open(f"/look/mouse/trials?trial={hidden}")
    expect(site.page.get_by_text("responses of this trial: withheld")).to_be_visible()
    assert site.trouble.said == []


def test_pages_do_without_scripts(site: Site) -> None:
    """Search, slices and sizes work by forms alone."""
    with another(site, java_script_enabled=False) as (page, trouble):
        page.goto(f"{site.url}/?q=brain")
        page.get_by_role("link", name="brain").first.click()
        page.get_by_role("button", name="Show", exact=True).click()
        assert "low=" in page.url
        expect(page.locator("#slice")).to_have_attribute("src", re.compile("channels=0,1&window="))
        page.get_by_role("button", name="Show its size").click()
        expect(page.locator("#box-size")).to_contain_text("voxels")
        assert trouble.said == []


def test_what_is_typed_and_what_files_say_stays_words(
    site: Site, tmp_path: Path, unused_port: Callable[[], int]
) -> None:
    """The corpus in every field of a record, in names of channels and in searches runs nowhere."""
    addresses = _poisoned_root(tmp_path)
    addresses += [
        f"/?q={each}"
        for each in ("%22%3E%3Cscript%3Ewindow.pwned=1%3C/script%3E", "%7B%7B7*191%7D%7D")
    ]
    with running(str(tmp_path / "root"), unused_port()) as url, another(site) as (page, trouble):
        for address in addresses:
            page.goto(f"{url}{address}")
            page.wait_for_load_state("networkidle")
            assert page.evaluate("window.pwned") is None, address
            assert "1337" not in page.content(), address
            assert (
                page.locator("script:not([src]), [onerror], [onload], [onmouseover]").count() == 0
            )
            assert page.locator("a[href^='javascript:']").count() == 0, address
        for address in ("/evil/brain/grey", "/evil/mouse/trials", "/evil/mouse"):
            shown = page.goto(f"{url}{address}")
            assert shown is not None
            assert "&lt;script&gt;window.pwned" in shown.text(), address
        assert trouble.said == []


def _poisoned_root(folder: Path) -> list[str]:
    """Write a layer, a recording and a traced neuron full of the corpus; return their pages."""
    root, words = str(folder / "root"), ["--axes", "zyx", "--voxel-size", "1,1,1"]
    np.save(folder / "a.npy", np.ones((4, 16, 16), "u1"))
    assert main(["ingest", str(folder / "a.npy"), root, "--as", "evil/brain/grey", *words]) == 0
    write_folder(folder / "mouse", Mouse(neurons=10, trials=6, height=9, width=16))
    assert main(["ingest", str(folder / "mouse"), root, "--as", "evil/mouse/trials"]) == 0
    swc = "".join(f"# {each}\n" for each in CORPUS) + "1 1 0 0 0 1 -1\n2 3 4 4 2 1 1\n"
    (folder / "cell.swc").write_text(swc)
    as_cell = ["--as", "evil/brain/cell", "--unit", "um"]
    assert main(["ingest", str(folder / "cell.swc"), root, *as_cell]) == 0
    for layer in ("brain/grey", "mouse/trials"):
        file = folder / "root/evil" / layer / "zarr.json"
        document = json.loads(file.read_text())
        told = document["attributes"]
        told["nwb"] = _poisoned(told["nwb"], _endless()) | _every_field(_endless())
        if layer == "brain/grey":
            told["ome"]["omero"]["channels"][0]["label"] = "".join(CORPUS)
        else:
            _poison_recording(told["recording"])
        file.write_text(json.dumps(document))
    job = folder / "root/evil/failed/grey/0/ledger"
    shutil.copytree(folder / "root/evil/brain", job.parents[2])
    (job.parents[1] / "zarr.json").unlink()
    (job / "shards-00000.jsonl").unlink()
    (job / "failed-0-of-1.json").write_text(json.dumps({"error": "x", "reason": "".join(CORPUS)}))
    pages = ["/", "/evil/brain", "/evil/brain/grey", "/jobs", "/download/evil/brain/grey"]
    return [*pages, "/evil/mouse", "/evil/mouse/trials", "/view/evil/brain"]


def _poison_recording(told: dict[str, Any]) -> None:
    """Put the corpus wherever a recording's own document has words of its source."""
    words = _endless()
    for variable in told["variables"].values():
        variable["unit"] = next(words)
        if variable.get("rows"):
            variable["rows"] = [next(words) for _ in variable["rows"]]


def _endless() -> Iterator[str]:
    while True:
        yield from CORPUS


def _poisoned(value: Any, words: Iterator[str]) -> Any:  # noqa: ANN401 - JSON
    """Return a record in which every text is another one of the corpus, but for those that bind."""
    if isinstance(value, dict):
        kept = ("schema_id", "neurodata_type", "nwb_version", "data", "timestamp")
        return {k: v if k in kept else _poisoned(v, words) for k, v in value.items()}
    if isinstance(value, list):
        return [_poisoned(each, words) for each in value]
    return next(words) if isinstance(value, str) else value


def _every_field(words: Iterator[str]) -> dict[str, Any]:
    """Return the fields of a record that pages show, each with a text of the corpus."""
    plain = ("session_description", "institution", "lab", "license", "doi", "protocol", "notes",
             "virus", "surgery", "slices", "session_id", "acquisition_date")  # fmt: skip
    subject = ("subject_id", "species", "sex", "age", "genotype", "strain", "weight", "description")
    listed = ("experimenter", "keywords", "related_publications")
    return {
        **{name: next(words) for name in plain},
        **{name: [next(words), next(words)] for name in listed},
        "subject": {name: next(words) for name in subject},
        "microscopy_rig": {"microscope": {"technique": next(words), "model_name": next(words)}},
        "contributors": [{"name": next(words), "orcid": next(words)}],
    }


def test_a_key_signs_in_and_out(
    site: Site, root: Path, unused_port: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """By the form: what is private appears, and is gone again."""
    assert main(["access", "set", "look/mouse", "private", "--root", str(root)]) == 0
    capsys.readouterr()
    assert main(["token", "create", "--name", "jane", "--scope", "read", "--root", str(root)]) == 0
    key = re.search(r"mt_[a-z0-9]{12}_[A-Za-z0-9]{43}", capsys.readouterr().out)
    assert key is not None
    with running(str(root), unused_port()) as url, another(site) as (page, trouble):
        page.goto(f"{url}/")
        assert page.get_by_role("link", name="mouse").count() == 0
        page.get_by_role("link", name="Sign in").click()
        page.get_by_label("API key").fill("mt_wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("not known here")
        page.get_by_label("API key").fill(key[0])
        page.get_by_role("button", name="Sign in").click()
        page.goto(f"{url}/look/mouse/trials")
        page.wait_for_selector("#stage[data-ready=yes]")
        page.get_by_role("button", name="Sign out jane").click()
        assert page.request.get(f"{url}/look/mouse").status == 404
        # The wrong key's own 401, and the catalog's absent dataset, are what was meant.
        assert [said for said in trouble.said if "401" not in said] == []
    assert main(["access", "set", "look/mouse", "default", "--root", str(root)]) == 0


def test_an_account_signs_in_at_its_issuer(
    site: Site, root: Path, unused_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one link to the issuer and one back: what the group may see appears."""
    where = ["--root", str(root)]
    assert main(["access", "set", "look/mouse", "private", *where]) == 0
    assert main(["access", "grant", "look/mouse", "reader", "--group", "lab", *where]) == 0
    with issuing() as issuer, another(site) as (page, trouble):
        for name, value in (("ISSUER", issuer.url), ("AUDIENCE", "api"), ("CLIENT_ID", CLIENT)):
            monkeypatch.setenv(f"MICROTOME_OIDC_{name}", value)
        with running(str(root), unused_port()) as url:
            page.goto(f"{url}/")
            page.get_by_role("link", name="Sign in").click()
            page.get_by_role("link", name="Sign in at 127.0.0.1").click()
            page.get_by_role("link", name="Continue").click()
            page.goto(f"{url}/look/mouse/trials")
            page.wait_for_selector("#stage[data-ready=yes]")
            page.get_by_role("button", name="Sign out alice").click()
            assert page.request.get(f"{url}/look/mouse").status == 404
        asked = {url.removeprefix("http://"), issuer.url.removeprefix("http://"), ""}
        assert trouble.hosts <= asked
        assert trouble.said == []
    assert main(["access", "set", "look/mouse", "default", *where]) == 0


def test_a_view_is_shared_by_a_short_link(site: Site) -> None:
    """The button gives an address that opens the same place."""
    if not VIEWER.exists():
        pytest.skip("the viewer is not built, see make viewer")
    ready = "() => window.viewer && window.viewer.isReady()"
    page = site.open("/view/look/brain")
    page.wait_for_function(ready, timeout=120_000)
    page.evaluate("viewer.navigationState.position.value = Float32Array.of(11.5, 7.5, 3.5)")
    page.get_by_role("button", name="Copy a short link").click()
    address = page.locator("#shared a").get_attribute("href", timeout=20_000)
    assert address is not None
    assert re.fullmatch(rf"{re.escape(site.url)}/s/[a-z2-7]{{12}}", address)
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_function(ready, timeout=120_000)
    place = page.evaluate("Array.from(viewer.navigationState.position.value)")
    assert place == pytest.approx([11.5, 7.5, 3.5])
    assert site.trouble.said == []
