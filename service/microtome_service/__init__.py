"""Serve cutouts, tiles and metadata of OME-Zarr layers over HTTP.

A request goes one way: a route reads its words, the catalog gives the layer, the reader its
voxels, the encoder their bytes. `microtome_service.app.create_app` puts them together.
"""
