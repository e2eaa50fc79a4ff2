"""Convert sources into chunked, sharded, checksummed OME-Zarr layers."""
