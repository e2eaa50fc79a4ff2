"""The vocabulary that every other room shares: axes, regions, grids, levels, names, errors."""

__version__ = "0.1.0"
