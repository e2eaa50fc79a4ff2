"""The notebooks run from top to bottom against a live service, and show pictures."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from microtome_cli.main import main
from microtome_core.store.location import Store
from microtome_ingest.sample import write_sample
from tests import prasad
from tests.sensorium_folders import Mouse, write_folder
from tests.service.conftest import create_app, running, settings_for

FOLDER = Path(__file__).parents[2] / "clients/notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# Pictures that each shows.
PICTURES = {"quick_start": 5, "brainbow": 3, "mtneuro": 3, "sensorium": 3}
MOUSE = Mouse(neurons=40, trials=30, height=36, width=64, longest=120, shortest=90)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the sample brain of `make demo`, smaller, a volume like MTNeuro's, and a recording."""
    folder = tmp_path_factory.mktemp("notebooks")
    files = write_sample(folder, (48, 256, 256))
    root = str(folder / "root")
    options = ("--kind", "labels", "--labels-of", "brain")
    for source, name, more in ((files.image, "brain", ()), (files.labels, "neurons", options)):
        assert main(["ingest", str(source), root, "--as", f"demo/brainbow/{name}", *more]) == 0
    prasad.write(folder / "root")
    store = Store(root)
    mouse = str(write_folder(folder / "mouse", MOUSE))
    assert main(["ingest", mouse, root, "--as", "sensorium/mouse"]) == 0
    with running(create_app(settings_for(store), store)) as url:
        yield url


class Kernels(AsyncKernelManager):  # type: ignore[misc]  # jupyter_client has no types here
    """Kernels of this interpreter, whatever is installed for the user."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """What starts one."""
        words = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=words, display_name="test", language="python")


def execute(path: Path) -> Any:  # noqa: ANN401 - nbformat has no types
    """Return a notebook after all of its cells have run."""
    book = nbformat.read(path, as_version=4)
    client = NotebookClient(book, timeout=240, kernel_manager_class=Kernels)
    client.execute()
    return book


def figures(book: Any) -> list[str]:  # noqa: ANN401
    """Return the pictures that were drawn; a volume's own comes with its table."""
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    found = [o.get("data", {}) for cell in cells for o in cell.outputs]
    return [data["image/png"] for data in found if "image/png" in data and "text/html" not in data]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_and_show_pictures(
    path: Path, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each cell runs as it stands; figures are drawn, and nothing is written to stderr."""
    monkeypatch.setenv("MICROTOME_URL", service)
    book = execute(path)
    pictures = figures(book)
    assert len(pictures) == PICTURES[path.stem]
    assert all(len(picture) > 5000 for picture in pictures)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    told = [o.text for c in code for o in c.outputs if o.get("name") == "stderr"]
    assert told == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    """What they show is made anew by whoever runs them; the service's address is a variable."""
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert 'os.environ.get("MICROTOME_URL", "http://127.0.0.1:8000")' in code[0].source


def test_every_notebook_is_counted() -> None:
    """What each must show is written down."""
    assert {path.stem for path in NOTEBOOKS} == set(PICTURES)
