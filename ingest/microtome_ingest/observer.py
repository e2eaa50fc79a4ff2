"""Who is told how an ingest goes on."""

from typing import Any

from microtome_core.store.ledger import Entry, Ledger
from microtome_ingest.plan import Plan


class Observer:
    """Is told of progress; this one keeps silent."""

    def resume(self, ledger: Ledger, lost: int) -> None:
        """Learn what an earlier run has done, and how many of its shards were lost since."""

    def begin(self, plan: Plan, ledger: Ledger) -> None:
        """Learn what will be done, before the first voxel is read; what is done is in `ledger`."""

    def say(self, event: str, text: str, **facts: Any) -> None:  # noqa: ANN401 - JSON of any kind
        """Learn of something that happened once, such as a worker that was lost."""

    def advance(self, entry: Entry, size: int) -> None:
        """Learn that a shard of `size` bytes of voxels is done; called from several threads."""
