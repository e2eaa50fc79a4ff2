"""Real files, damaged: whatever is wrong with one, it is read as it is or refused with a reason."""

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from microtome_ingest.formats import open_source
from tests import trial
from tests.damage import CUTS, SEEDS, Case, Subject
from tests.ingest.expectations import Expected, parametrized, sources
from tests.trial import Outcome, Trials

pytestmark = pytest.mark.samples

WHOLE = Case("whole", 0)
# Fewer where time is short; the whole by default.
CHANGES = int(os.environ.get("MICROTOME_DAMAGE", SEEDS))
ALL = [*(Case("cut", i) for i in range(CUTS)), *(Case("seed", i) for i in range(CHANGES))]
# What is no image to begin with has fewer ways to surprise.
FEW = ALL[: CUTS + 20]
# Seconds of reading that a sample may take; a slow one is damaged in fewer ways.
PATIENCE, FEWEST = 60, 60


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    """Start processes that read, one a core."""
    with trial.running(tmp_path_factory.mktemp("damaged")) as running:
        yield running


def subject(samples: Path, name: str, expected: Expected) -> Subject:
    """Return a source with all the files that it consists of."""
    file, _, inside = name.partition("::")
    others = [samples / file]
    if expected.images:
        with closing(open_source(str(samples / name), 0)) as source:
            others += map(Path, source.description.files)
    others += [(samples / file).parent / other for other in expected.beside]
    return Subject.of(samples / file, others, inside)


def faults(whole: Outcome, found: Sequence[tuple[Case, Outcome]]) -> list[str]:
    """Say of each case what must not be."""
    result = []
    for case, outcome in found:
        fault = outcome.fault
        if fault is None and case.kind == "cut" and outcome.kind == "read":
            # A file that was cut off gives all of its voxels, or none.
            fault = None if outcome.text == whole.text else f"other voxels: {outcome.text}"
        if fault is not None:
            result.append(f"{case} after {outcome.seconds:.1f} s: {fault}")
    return result


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "expected"), parametrized())
def test_no_damage_does_harm(samples: Path, trials: Trials, name: str, expected: Expected) -> None:
    """Cut off at 10 places and changed in up to 200 ways, a sample never crashes, hangs, takes
    more than 1 GiB or gives fewer voxels; ``python -m tests.damage`` makes the file at fault.
    """
    files = subject(samples, name, expected)
    [(_, whole)] = trials.damaged(files, [WHOLE])
    assert whole.fault is None, whole
    many = max(FEWEST, int(PATIENCE / whole.seconds))
    found = faults(whole, list(trials.damaged(files, ALL[:many] if expected.images else FEW)))
    assert not found, f"{len(found)} faults of {name}:\n" + "\n".join(found[:5])


@pytest.mark.slow
def test_a_few_of_every_format(samples: Path, trials: Trials) -> None:
    """The same for one sample of each format, with other seeds for each."""
    formats: dict[str, str] = {}
    for name, row in sources().items():
        if row.images and not row.large and not row.unreadable:
            formats.setdefault(row.format, name)
    found = []
    for format_name, name in formats.items():
        files = subject(samples, name, sources()[name])
        seeds = random.Random(format_name).sample(range(SEEDS, 10 * SEEDS), 2)
        cases = [WHOLE, Case("cut", 6), *(Case("seed", seed) for seed in seeds)]
        (_, whole), *rest = trials.damaged(files, cases)
        found += [f"{name}: {fault}" for fault in faults(whole, rest)]
    assert not found, "\n".join(found)
