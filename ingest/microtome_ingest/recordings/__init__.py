"""Folders of trials as recordings: surveyed, written, verified, and returned as they were."""
