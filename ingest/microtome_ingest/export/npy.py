"""NPY: an array as ``numpy.load`` reads and maps it, in microtome's order of axes.

Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. The format has no
room for metadata: they lie beside it, in a file with ``.json`` after its name.
"""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from microtome_core.dtypes import little_endian
from microtome_ingest.export.cut import Cut
from microtome_ingest.export.facts import history
from microtome_ingest.export.output import whole_file
from microtome_ingest.export.raw import write_file


def export_npy(cut: Cut, path: Path, *, overwrite: bool = False) -> list[Path]:
    """Write a file and, beside it, one with ``.json`` after its name; return both."""
    aside = path.with_name(f"{path.name}.json")
    text = json.dumps(_described(cut), indent=1, ensure_ascii=False)
    with (
        whole_file(aside, overwrite=overwrite) as described,
        whole_file(path, overwrite=overwrite) as part,
    ):
        write_file(part, _head(cut), cut)
        described.write_text(text, encoding="utf-8")
    return [path, aside]


def _head(cut: Cut) -> bytes:
    head = BytesIO()
    np.lib.format.write_array_header_2_0(
        head, {"descr": little_endian(cut.dtype).str, "fortran_order": False, "shape": cut.shape}
    )
    return head.getvalue()


def _described(cut: Cut) -> dict[str, Any]:
    return {
        "layer": cut.info.id,
        "level": cut.level,
        "region": str(cut.region),
        "axes": cut.axes,
        "units": cut.units,
        "scale": cut.scale,
        "translation": cut.translation,
        "channels": [{"name": c.name, "color": c.color, "window": c.window} for c in cut.channels],
        "record": history(cut, "npy"),
    }
