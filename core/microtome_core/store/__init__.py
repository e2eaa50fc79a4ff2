"""The volume on disk: where it lies, its arrays, its OME-Zarr attributes and its record."""
