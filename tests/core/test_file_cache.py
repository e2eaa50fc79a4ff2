"""Bytes kept on disk: how much, by how many."""

from pathlib import Path

from microtome_core.file_cache import FileCache


def test_processes_that_share_a_folder_keep_it_small_together(tmp_path: Path) -> None:
    """Each counts what the others have written, though it hears of it late."""
    caches = [FileCache(tmp_path, 10_000, ".bytes") for _ in range(4)]
    most = 0
    for number in range(400):
        caches[number % 4].put(str(number), bytes(96))
        most = max(most, sum(file.stat().st_size for file in tmp_path.iterdir()))
    assert 8_000 < most <= 14_000
    assert caches[0].get("399") == bytes(96)
