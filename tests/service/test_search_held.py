"""What a process remembers of an index: of this generation alone, and in bounded memory."""

from microtome_service.search.held import Held


def _get(held: Held, generation: str, key: str, value: str, nbytes: int = 1) -> str:
    return held.get(generation, key, lambda: value, lambda _: nbytes)


def test_a_value_is_made_once_a_generation() -> None:
    """What was made of another generation is never returned, even if that one comes back."""
    held = Held()
    assert _get(held, "one", "key", "first") == "first"
    assert _get(held, "one", "key", "again") == "first"
    assert _get(held, "two", "key", "second") == "second"
    assert _get(held, "one", "key", "third") == "third"


def test_without_a_generation_nothing_is_remembered() -> None:
    """An index that does not tell whether it has changed is asked every time."""
    held = Held()
    assert [_get(held, "", "key", value) for value in ("first", "second")] == ["first", "second"]
    assert not held.holds("key")


def test_memory_is_bounded() -> None:
    """What was not used for longest goes first; what is too large alone is not kept at all."""
    held = Held(most=4000)
    for key in ("a", "b", "c"):
        _get(held, "one", key, key, 800)
    _get(held, "one", "a", "unused")
    _get(held, "one", "d", "d", 800)
    assert [key for key in "abcd" if held.holds(key)] == ["a", "c", "d"]
    _get(held, "one", "e", "e", 5000)
    assert [key for key in "abcde" if held.holds(key)] == ["a", "c", "d"]


def test_a_value_that_was_made_of_an_older_index_is_not_kept() -> None:
    """Who began before a change must not leave what they found for those after it."""
    held = Held()

    def late() -> str:
        _get(held, "two", "key", "new")
        return "old"

    assert held.get("one", "key", late, lambda _: 1) == "old"
    assert _get(held, "two", "key", "unused") == "new"


def test_the_digest_of_a_thing_is_made_once() -> None:
    """It is that of the very object, and never of an equal one that came before."""
    held, made = Held(), []

    def digest(thing: list[int]) -> str:
        made.append(thing)
        return str(thing)

    thing = [1]
    assert [held.digest(thing, digest) for _ in range(3)] == ["[1]"] * 3
    assert held.digest([2], digest) == "[2]"
    assert len(made) == 2
