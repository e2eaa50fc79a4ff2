"""Layers written in other formats: what is written, where, and one module a format."""
