"""Readers: one module a format, each with `open_image` and `scenes`."""
