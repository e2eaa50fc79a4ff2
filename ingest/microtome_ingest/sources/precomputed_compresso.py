"""Precomputed volumes packed by compresso, to be read in a process of its own."""

from microtome_ingest.sources.precomputed import open_here as open_image
from microtome_ingest.sources.precomputed import scenes

__all__ = ["open_image", "scenes"]
