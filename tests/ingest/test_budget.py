"""What fits into memory: steps of one process, of workers, of parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtome_core.errors import InputError
from microtome_ingest.budget import Budget, choose_budget, fit_budget, units_at_once

MIB = 2**20
GIB = 2**30
shards = st.sampled_from([MIB, 16 * MIB, 72 * MIB, 128 * MIB])


@given(st.integers(GIB, 64 * GIB), st.integers(1, 32), shards, st.integers(0, 32))
def test_what_is_given_is_not_more_than_there_is(
    memory: int, threads: int, shard: int, workers: int
) -> None:
    """Steps and open shards of all processes together, and of the one that leads, fit; or it is
    refused, and what the message asks for would do.
    """
    try:
        budget = choose_budget(memory, threads, shard, workers)
    except InputError:
        return
    assert budget.threads >= 1
    assert budget.batch_bytes >= shard
    each = budget.threads * (2 * budget.batch_bytes + shard) + 4 * shard
    assert max(workers, 1) * each < memory - workers * 100 * MIB
    assert budget.threads * max(workers, 1) < threads + max(workers, 1)


def test_too_little_memory_for_all_workers_is_refused() -> None:
    """The message counts them and says how much would do; so much does."""
    with pytest.raises(InputError, match=r"8 workers .* take 6\.\d+ GB at least"):
        choose_budget(2 * GIB, None, 72 * MIB, 8)
    assert choose_budget(7 * GIB, None, 72 * MIB, 8).threads == 1


def test_a_batch_that_others_chose_decides_how_many_steps_fit() -> None:
    """Larger reads leave room for fewer; none at all is refused."""
    assert fit_budget(4 * GIB, 8, 64 * MIB, 64 * MIB) == Budget(8, 64 * MIB)
    assert fit_budget(4 * GIB, 8, 64 * MIB, 512 * MIB) == Budget(3, 512 * MIB)
    with pytest.raises(InputError, match="as the other parts do"):
        fit_budget(GIB, 8, 64 * MIB, 512 * MIB)


def test_a_worker_does_as_many_units_at_once_as_its_memory_holds() -> None:
    """One in any case."""
    budget = Budget(2, 64 * MIB)
    assert units_at_once(2 * GIB, budget, 64 * MIB) == 2
    assert units_at_once(16 * GIB, budget, 64 * MIB) == 25
    assert units_at_once(MIB, budget, 64 * MIB) == 1
