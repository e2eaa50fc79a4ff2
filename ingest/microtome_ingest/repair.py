"""Mending a layer in place: only what its ledger or its manifest proves to be right is written.

A shard is made anew in memory, of the source or of the level below, and takes the place of the
damaged one only if it is byte by byte what the sealed ledger names. So a source that is another one
cannot get in, and whoever reads meanwhile is given an error or the right voxels.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from microtome_core.store.array import create_array
from microtome_core.store.empty import write_empty
from microtome_core.store.ledger import FOLDER, Entry, parse_key, seal
from microtome_core.store.location import Store
from microtome_core.store.shards import digest
from microtome_ingest.audit import Finding
from microtome_ingest.budget import Budget
from microtome_ingest.claim import Claim, Part
from microtome_ingest.compare import below, keys_below
from microtome_ingest.manifest import MANIFEST
from microtome_ingest.publish import publish
from microtome_ingest.run import Run
from microtome_ingest.sink import Sink
from microtome_ingest.target import Target
from microtome_ingest.units import Stage, whole
from microtome_ingest.verify import EMPTY, LAYER, array_document
from microtome_ingest.write import Known, Readable, Writer, write_unit

_NO_SOURCE = "level 0 is made anew from the source only: give --source"
# What TensorStore calls a file that is being written; no object may be named so.
_LOCK = ".__lock"
_DOUBT = "the manifest of the ingest is in doubt, by which all else is judged"


@dataclass(frozen=True, slots=True)
class Mending:
    """What became of one finding.

    Parameters
    ----------
    finding : Finding
    reason : str
        Why it could not be mended; empty if it was.
    """

    finding: Finding
    reason: str = ""


def repair(
    target: Target, findings: Sequence[Finding], source: Readable | None, budget: Budget
) -> Generator[Mending, None, None]:
    """Mend what can be mended, and yield every finding with what became of it.

    Parameters
    ----------
    target : Target
    findings : sequence of Finding
        All that `check_metadata` and `check_shards` found.
    source : Readable, optional
        In the layer's axes.
    budget : Budget

    Raises
    ------
    Conflict
        Another process is writing this version.
    SourceError, StorageError
    """
    with Claim(target.store, target.folder, Part()) as claim:
        if _in_doubt(target, findings):
            yield from (Mending(finding, _DOUBT) for finding in findings)
            return
        job = _Repair(target, source, budget, claim)
        for step in (job.arrays, job.extras, job.shards, job.ledger, job.empty, job.layer):
            for mending in step(findings):
                job.note(mending)
                yield mending


class _Repair:
    """One repair; its steps are to be done in order, each of its own share of the findings."""

    def __init__(
        self, target: Target, source: Readable | None, budget: Budget, claim: Claim
    ) -> None:
        self._target, self._source = target, source
        self._budget, self._claim = budget, claim
        self._left: set[str] = set()

    def note(self, mending: Mending) -> None:
        """Remember what stays damaged."""
        if mending.reason:
            self._left.add(mending.finding.key)

    def arrays(self, findings: Iterable[Finding]) -> Iterator[Mending]:
        """Write the metadata of arrays as the manifest has it."""
        specs = self._target.plan.arrays
        documents = {f"{level}/zarr.json": spec for level, spec in enumerate(specs)}
        for finding in findings:
            if finding.key in documents:
                self._write(finding.key, array_document(documents[finding.key]))
                yield Mending(finding)

    def extras(self, findings: Iterable[Finding]) -> Iterator[Mending]:
        """Remove objects that should not be there."""
        # Files that dead writers left among them; those of living ones stay.
        self._target.store.sweep(self._target.folder)
        for finding in findings:
            if finding.fault == "extra":
                self._claim.check()
                if not finding.key.endswith(_LOCK):
                    self._target.store.remove(self._target.path(finding.key))
                yield Mending(finding)

    def shards(self, findings: Iterable[Finding]) -> Iterator[Mending]:
        """Make shards anew, finest level first."""
        found = [f for f in findings if f.fault != "extra" and parse_key(f.key)]
        for level in range(len(self._target.plan.levels)):
            mine = [f for f in found if f.key.startswith(f"{level}/")]
            barred = {f.key: reason for f in mine if (reason := self._barred(f.key))}
            made = self._remake(level, [f.key for f in mine if f.key not in barred])
            for finding in mine:
                mending = Mending(finding, {**made, **barred}[finding.key])
                yield mending

    def ledger(self, findings: Iterable[Finding]) -> Iterator[Mending]:
        """Seal the ledger anew, of shards that are whole by their own checksums."""
        for finding in findings:
            if finding.key.startswith(FOLDER) and finding.key != EMPTY:
                whole_ = self._target.ledger.whole
                if whole_:
                    self._claim.check()
                    seal(self._target.store, self._target.folder, self._target.ledger)
                yield Mending(finding, "" if whole_ else "shards are damaged, too")

    def empty(self, findings: Iterable[Finding]) -> Iterator[Mending]:
        """Write the list of empty shards as the ledger has it."""
        ledger = self._target.ledger
        for finding in findings:
            if finding.key == EMPTY:
                if ledger.whole:
                    self._claim.check()
                    levels = [ledger.empty(level) for level in range(len(ledger.grids))]
                    write_empty(self._target.store, self._target.folder, levels)
                yield Mending(finding, "" if ledger.whole else "the ledger is damaged, too")

    def layer(self, findings: Iterable[Finding]) -> Iterator[Mending]:
        """Write the layer's own metadata, as the ingest did at its end."""
        for finding in findings:
            if finding.key == LAYER:
                if not self._left:
                    self._claim.check()
                    target = self._target
                    run = Run.open(
                        target.store, target.place, target.plan, target.ledger, lambda _, __: None
                    )
                    publish(run, target.manifest)
                yield Mending(finding, "other damage must be mended before" if self._left else "")

    def _barred(self, key: str) -> str:
        """Return why a shard cannot be made anew; empty if it can."""
        level, index = parse_key(key) or (0, ())
        if self._target.lost is not None:
            return "the ledger that would prove it right is damaged, too"
        if level == 0:
            return "" if self._source is not None else _NO_SOURCE
        region = self._target.plan.shards(level).region(index)
        damaged = self._left.intersection(keys_below(self._target.plan, level, region))
        return f"{min(damaged)} below it is damaged" if damaged else ""

    def _remake(self, level: int, keys: Sequence[str]) -> dict[str, str]:
        """Make shards of one level anew; return for each why it could not be, or nothing."""
        if not keys:
            return {}
        target, reasons = self._target, dict.fromkeys(keys, "was not made anew")
        scratch = Store("memory://scratch")

        def done(entry: Entry, _: int) -> None:
            reasons[entry.key] = self._put(entry, scratch)

        plan = target.manifest.plan(self._budget.batch_bytes)
        arrays = [
            create_array(scratch, target.place.array(n), spec) for n, spec in enumerate(plan.arrays)
        ]
        sink = Sink(scratch, target.folder, plan.arrays, arrays, done)
        unit = whole(plan, Stage(level, level))
        source = below(target, level, self._source)
        # One level alone lays nothing into others, so nothing is read back.
        writer = Writer(plan, unit, source, target.voxels, sink, self._known(level, keys))
        write_unit(writer, plan, unit, self._budget.threads)
        return reasons

    def _known(self, level: int, keys: Sequence[str]) -> Known:
        """Return what need not be made: all but these."""
        ledger = self._target.ledger
        entries = [entry for key in keys if (entry := ledger.expects(key)) is not None]
        for entry in entries:
            ledger.forget(entry.level, entry.index)
        known = Known(ledger, Stage(level, level))
        for entry in entries:
            ledger.add(entry)
        return known

    def _put(self, entry: Entry, scratch: Store) -> str:
        """Put a shard that was made in memory in its place, if it is the one of the ledger."""
        path = self._target.path(entry.key)
        try:
            expected = self._target.ledger.entry(entry.level, entry.index)
            if entry != expected:
                return (
                    f"made anew it is of other bytes (XXH3 {entry.digest or 'of nothing'}): "
                    "another source, or another version of a compressor"
                )
            self._write(entry.key, scratch.read(path) or b"")
        finally:
            scratch.remove(path)
        with self._target.store.open(path) as stream:
            found = digest(stream)
        same = (found.length, found.xxh3) == (entry.length, entry.digest)
        return "" if same else "was written, but reads back otherwise"

    def _write(self, key: str, data: bytes) -> None:
        self._claim.check()
        self._target.store.write(self._target.path(key), data)


def _in_doubt(target: Target, findings: Iterable[Finding]) -> bool:
    """Tell whether nothing backs the manifest: some array says otherwise, and none the same."""
    faults = {finding.key: finding.fault for finding in findings}
    arrays = [faults.get(f"{level}/zarr.json") for level in range(len(target.plan.levels))]
    return MANIFEST in faults or ("changed" in arrays and None not in arrays)
