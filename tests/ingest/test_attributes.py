"""The metadata of a layer: contrast is looked up in a bounded number of voxels."""

from pathlib import Path

import numpy as np

from microtome_core.layout import Layout
from microtome_core.store.array import create_array
from microtome_core.store.location import Store
from microtome_ingest.attributes import shown_channels, shown_level
from microtome_ingest.options import VolumeSpec
from microtome_ingest.plan import Policy, make_plan
from microtome_ingest.source import SourceChannel


def test_contrast_of_a_large_level_is_that_of_its_middle(tmp_path: Path) -> None:
    """A volume of 32 TB that was asked for one level is not read as a whole."""
    shape = (20_000, 40_000, 40_000)
    spec = VolumeSpec("zyx", shape, "uint8", (1.0,) * 3, (None,) * 3, (1, 1, 1))
    plan = make_plan(spec, Layout((64, 64, 64), (64, 512, 512)), Policy(levels=1))
    array = create_array(Store(str(tmp_path)), "0", plan.arrays[0])
    middle = np.full((64, 64, 64), 200, "uint8")
    middle[0] = 50
    corner = [n // 2 // 64 * 64 for n in shape]
    array[tuple(slice(low, low + 64) for low in corner)].write(middle).result()
    (shown,) = shown_channels(plan, [SourceChannel("GFP", "00FF00")], array)
    assert shown_level(plan) == 0
    assert shown.window == (0.0, 200.0)
