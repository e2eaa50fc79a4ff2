"""``make bench``: what microtome claims about speed, measured beside other engines in one run.

Every row is a rate and its ratio to another engine's, on the same data and the same machine.
The data lie in ``bench/`` below the working folder and are made once.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import cutouts, data, ingests, peers, readers, scale, services
from tests.benchmarks.table import Row, print_table

FOLDER = Path("bench")


def main() -> int:
    """Measure everything and print one table."""
    stack = data.make_stack(FOLDER)
    rows: list[Row] = []
    rows += ingests.measure(FOLDER, stack)
    rows += cutouts.measure(FOLDER, stack)
    rows += readers.measure(FOLDER)
    half = data.make_stack(FOLDER, data.SHAPE[0] // 2)
    rows += scale.measure(FOLDER, stack)
    rows += peers.measure(FOLDER, half)
    rows += services.measure(FOLDER, half)
    print_table(rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
