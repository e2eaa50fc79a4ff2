"""Neuroglancer's precomputed format, made of the store when it is asked for.

Source of the format: https://neuroglancer-docs.web.app/datasource/precomputed ("volume",
"segment properties", "skeleton", "annotation").
"""
