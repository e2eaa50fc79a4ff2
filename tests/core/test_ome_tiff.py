"""Voxel sizes in the words of OME."""

from microtome_core.ome_tiff import TYPES, sizes


def test_sizes_are_named_by_axis() -> None:
    """Time by its increment, space by its physical size, each with the symbol of its unit."""
    told = sizes(
        [("t", 0.5, "second"), ("c", 1.0, None), ("z", 2, "micrometer"), ("x", 3, "meter")]
    )
    assert told == {
        "TimeIncrement": 0.5, "TimeIncrementUnit": "s", "PhysicalSizeZ": 2,
        "PhysicalSizeZUnit": "µm", "PhysicalSizeX": 3, "PhysicalSizeXUnit": "m",
    }  # fmt: skip


def test_what_is_not_known_is_not_told() -> None:
    """No size, no unit, or one that OME has no symbol of; its model has no 64-bit integers."""
    assert sizes([("z", None, "meter"), ("y", 1.0, None), ("x", 1.0, "furlong")]) == {}
    assert "uint64" not in TYPES
