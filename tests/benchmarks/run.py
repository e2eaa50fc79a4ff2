"""``make bench``: what microtome claims about speed, measured beside other engines in one run.

Every row is a rate and its ratio to another engine's, on the same data and the same machine.
The data lie in ``bench/`` below the working folder and are made once.
``make bench ARGS='cutouts services'`` measures these alone.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import (
    cutouts,
    data,
    ingests,
    peers,
    readers,
    recordings,
    recordings_latency,
    scale,
    search,
    services,
    training,
)
from tests.benchmarks.table import Row, print_table

FOLDER = Path("bench")


_PARTS: Mapping[str, Callable[[], list[Row]]] = {
    "ingests": lambda: ingests.measure(FOLDER, data.make_stack(FOLDER)),
    "cutouts": lambda: cutouts.measure(FOLDER, data.make_stack(FOLDER)),
    "readers": lambda: readers.measure(FOLDER),
    "scale": lambda: scale.measure(FOLDER, data.make_stack(FOLDER)),
    "far": lambda: scale.measure_far(FOLDER),
    "peers": lambda: peers.measure(FOLDER, _half()),
    "recordings": lambda: [*recordings.measure(FOLDER), *recordings_latency.measure(FOLDER)],
    "search": lambda: search.measure(FOLDER),
    "pages": lambda: search.measure_pages(FOLDER),
    "services": lambda: services.measure(FOLDER, _half()),
    "training": lambda: training.measure(FOLDER, _half()),
}


def _half() -> data.Stack:
    return data.make_stack(FOLDER, data.SHAPE[0] // 2)


def main() -> int:
    """Measure what was asked for, or everything, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(_PARTS))
    chosen = parser.parse_args().parts or list(_PARTS)
    if unknown := set(chosen) - set(_PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: the parts are {', '.join(_PARTS)}")
    print_table([row for name in chosen for row in _PARTS[name]()])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
