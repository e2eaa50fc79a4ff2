"""Many trials in one answer: what a request lists, and the groups in which it is read."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from microtome_core.bundle import Item
from microtome_core.errors import InputError, NotFound, RegionError, TooLarge, Withheld
from microtome_core.store.recording import Recording
from microtome_service.reader import Cost, Limits
from microtome_service.recordings import NEURON
from microtome_service.streaming import slab_sizes
from microtome_service.trial_parts import Part, check_part
from microtome_service.trials import Rows, check_trial, parse_neurons, part_of

# Bytes that are read while as many are sent.
_GROUP = 8 << 20
_Index = Annotated[int, Field(ge=0, le=10**18)]


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Asked:
    """The JSON of a request.

    Parameters
    ----------
    trials : list of int
        Numbers of trials, in the order of the answer; one may come more than once.
    variables : list of str, optional
        Of each trial; by default all that it has values of.
    windows : list, optional
        Of each trial `[start, stop]` in samples, or null for all that have values.
    neurons : str, optional
        ``start:stop``, or numbers with commas between, for the variables of neurons.
    """

    trials: Annotated[list[_Index], Field(min_length=1, examples=[[0, 2]])]
    variables: Annotated[
        list[str] | None, Field(min_length=1, examples=[["responses", "videos"]])
    ] = None
    windows: Annotated[
        list[tuple[_Index, _Index] | None] | None, Field(examples=[[[0, 5], None]])
    ] = None
    neurons: Annotated[str | None, Field(max_length=100_000, examples=["0:2"])] = None


ASKED = TypeAdapter(Asked)


@dataclass(frozen=True, slots=True)
class Group:
    """Parts that are read side by side.

    Parameters
    ----------
    parts : tuple of Part
    costs : tuple of Cost
    nbytes : int
        Of their values.
    transient : int
        Bytes that stand beside these while they are read.
    decoded : int
        Bytes of the chunks that are decoded for them.
    """

    parts: tuple[Part, ...]
    costs: tuple[Cost, ...]
    nbytes: int
    transient: int
    decoded: int


def parse(body: bytes) -> Asked:
    """Read a request.

    Raises
    ------
    InputError
        No such JSON; names the place.
    """
    try:
        asked = ASKED.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"body: {place or 'JSON'}: {first['msg']}") from error
    if asked.windows is not None and len(asked.windows) != len(asked.trials):
        raise InputError(f"body: {len(asked.windows)} windows of {len(asked.trials)} trials")
    return asked


def choose_parts(recording: Recording, asked: Asked, most: int) -> list[tuple[Item, Part | None]]:
    """Return what a request asks for, in its order; of what is withheld there is no part.

    Raises
    ------
    NotFound, RegionError, InputError
        What is not there; names the place in the list.
    TooLarge
        More than `most` arrays.
    """
    names = list(asked.variables or recording.variables)
    for name in names:
        recording.variable(name)
    if len(asked.trials) * len(names) > most:
        raise TooLarge(
            f"{len(asked.trials)} trials of {len(names)} variables, the limit is {most} arrays: "
            "ask for fewer at a time"
        )
    found: list[tuple[Item, Part | None]] = []
    # A long list of neurons, times thousands of trials, would fill memory.
    once = cache(parse_neurons)
    for place, number in enumerate(asked.trials):
        try:
            found += _of_trial(recording, asked, place, number, names, once)
        except (RegionError, NotFound) as error:
            raise type(error)(f"trials.{place}: {error}") from error
    return found


def _of_trial(
    recording: Recording,
    asked: Asked,
    place: int,
    number: int,
    names: Sequence[str],
    parse: Callable[[str, int], Rows],
) -> Iterator[tuple[Item, Part | None]]:
    window = asked.windows[place] if asked.windows else None
    pieces = check_trial(recording, number).pieces
    for name in names:
        # What nobody asked for by name need not be there.
        if asked.variables is None and pieces[name].state == "missing":
            continue
        neurons = asked.neurons if recording.variables[name].axes[0] == NEURON else None
        try:
            part = part_of(recording, number, name, window, neurons, parse)
        except Withheld:
            piece = pieces[name]
            dtype = piece.dtype or "float32"  # of no values
            yield Item(place, number, name, 0, piece.shape, dtype, withheld=True), None
        else:
            yield Item(place, number, name, part.start, part.shape, part.dtype.name), part


def group_parts(parts: Iterable[Part], limits: Limits) -> list[Group]:
    """Put parts together that fit memory side by side.

    Raises
    ------
    TooLarge
        One that is too large by itself, or all together; says which.
    """
    room = min(slab_sizes(limits)[0], _GROUP)
    groups: list[Group] = []
    held: list[Part] = []
    costs: list[Cost] = []
    nbytes = transient = decoded = 0
    for part in parts:
        cost = check_part(part, limits)
        beside = cost.held - part.nbytes
        if held and (nbytes + part.nbytes > room or transient + beside > 2 * room):
            groups.append(Group(tuple(held), tuple(costs), nbytes, transient, decoded))
            held, costs, nbytes, transient, decoded = [], [], 0, 0, 0
        held.append(part)
        costs.append(cost)
        nbytes, transient = nbytes + part.nbytes, transient + beside
        decoded += cost.decoded
    if held:
        groups.append(Group(tuple(held), tuple(costs), nbytes, transient, decoded))
    return groups
