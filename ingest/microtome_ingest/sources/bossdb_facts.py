"""What a BossDB says of a channel: its own words, and what they mean for an image.

Source of the words: https://docs.theboss.io (collections, experiments, coordinate frames, channels)
and intern, which asks for them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any
from urllib.parse import quote

from intern.resource.boss.resource import (
    BossResource,
    ChannelResource,
    CollectionResource,
    CoordinateFrameResource,
    ExperimentResource,
)

from microtome_core.errors import SourceError
from microtome_core.units import convert
from microtome_ingest.source import Description, SourceChannel
from microtome_ingest.sources.bossdb_address import Address
from microtome_ingest.sources.bossdb_session import Session, Sessions, status_of
from microtome_ingest.sources.lengths import common_unit, length_unit

FORMAT = "BossDB"
# What a BossDB stores and reads at once.
CUBOID = {"z": 16, "y": 512, "x": 512}
# Each costs a request.
_MOST_KEYS = 1000
_UNSEEN = {401, 403, 404}
_LARGEST = 1 << 40


@dataclass(frozen=True, slots=True)
class Facts:
    """What a BossDB says of a channel and of all above it.

    Parameters
    ----------
    channel, experiment, frame : intern's resources
    words : dict
        The JSON of each, and of the collection, verbatim, and their key-value metadata.
    notes : tuple of str
    """

    channel: ChannelResource
    experiment: ExperimentResource
    frame: CoordinateFrameResource
    words: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Asked:
    """Answers so far."""

    address: Address
    sessions: Sessions
    words: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def resource(self, kind: str, resource: BossResource) -> Any:  # noqa: ANN401 - intern has no types
        """Return one resource, and keep its JSON."""
        what = f"{kind} {resource.name[:200]!r}"
        found = self.sessions.ask(what, lambda s: s.remote.get_project(resource))
        self.words[kind.replace(" ", "_")] = _json(found.raw)
        return found

    def optional(self, what: str, ask: Callable[[], Any]) -> Any:  # noqa: ANN401 - what `ask` does
        """Return what `ask` does, or note that the token may not see it."""
        try:
            return ask()
        except SourceError as error:
            if status_of(error) not in _UNSEEN:
                raise
            self.notes.append(f"{what} was not to be had (HTTP {status_of(error)})")
            return None

    def pairs(self, kind: str, resource: BossResource) -> dict[str, Any]:
        """Return the key-value metadata of one resource."""
        what = f"metadata of the {kind}"
        listed = lambda s: s.remote.list_metadata(resource)  # noqa: E731
        keys = self.optional(what, lambda: self.sessions.ask(what, listed)) or []
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise SourceError(self.address, f"{what}: not what a BossDB answers: its list of keys")
        if len(keys) > _MOST_KEYS:
            self.notes.append(f"{what}: of its {len(keys)} keys only {_MOST_KEYS} were read")
        found = {}
        for key in keys[:_MOST_KEYS]:
            each = f"{what}, key {key[:80]!r}"
            value = self.optional(each, lambda k=key, e=each: self._value(e, resource, k))  # type: ignore[misc]
            if value is not None:
                found[_json(key)] = _json(value)
        return found

    def _value(self, what: str, resource: BossResource, key: str) -> Any:  # noqa: ANN401
        # intern puts keys into addresses as they are.
        escaped = quote(key, safe="", errors="replace")

        def value(session: Session) -> Any:  # noqa: ANN401
            return session.remote.get_metadata(resource, [escaped])[escaped]

        return self.sessions.ask(what, value)


def ask_facts(address: Address, sessions: Sessions) -> Facts:
    """Ask for all that is told of a channel; errors are those of `Sessions.ask`."""
    asked = _Asked(address, sessions)
    names = (address.collection, address.experiment, address.channel)
    collection = CollectionResource(names[0])
    experiment = ExperimentResource(names[1], names[0])
    channel = ChannelResource(names[2], names[0], names[1])
    found = asked.resource("channel", channel)
    # Cutouts are asked for by it.
    found.name = names[2]
    around = asked.resource("experiment", experiment)
    frame_name = quote(str(around.raw.get("coord_frame") or ""), safe="", errors="replace")
    frame = asked.resource("coordinate frame", CoordinateFrameResource(frame_name))
    what = f"the collection {names[0]!r}"
    asked.optional(what, lambda: asked.resource("collection", collection))
    pairs = {
        "collection": asked.pairs("collection", collection),
        "experiment": asked.pairs("experiment", experiment),
        "channel": asked.pairs("channel", channel),
    }
    words = {**asked.words, "metadata": {kind: some for kind, some in pairs.items() if some}}
    return Facts(found, around, frame, words, tuple(asked.notes))


def describe(address: Address, facts: Facts) -> Description:
    """Return what `facts` mean for an image.

    Raises
    ------
    SourceError
        Numbers that are no extents.
    """
    frame, experiment = facts.frame, facts.experiment
    start = starts(address, facts)
    stop = {a: _number(address, f"{a}_stop", frame.raw) for a in "zyx"}
    times = _number(address, "num_time_samples", experiment.raw, default=1)
    extents = {"t": times} if times != 1 else {}
    extents |= {axis: stop[axis] - start[axis] for axis in "zyx"}
    if min(*start.values(), 0) < 0 or min(extents.values()) < 1:
        raise SourceError(address, f"its coordinate frame reaches from {start} to {stop}")
    unit = length_unit(frame.voxel_unit)
    sizes, unit = common_unit({a: (_float(frame.raw.get(f"{a}_voxel_size")), unit) for a in "zyx"})
    return Description(
        format=FORMAT,
        axes="".join(extents),
        shape=tuple(extents.values()),
        dtype=facts.channel.datatype,
        block=tuple(min(CUBOID.get(axis, 1), extent) for axis, extent in extents.items()),
        files=(),
        image=str(address),
        voxel_size=sizes,
        unit=unit,
        time_step=_time_step(experiment) if times > 1 else None,
        channels=(SourceChannel(name=address.channel),),
        metadata=_metadata(address, facts, _origin(start, sizes, unit)),
        notes=(*_notes(facts, start, times), *facts.notes),
    )


def starts(address: Address, facts: Facts) -> dict[str, int]:
    """Return the coordinates of the first voxel by axis."""
    return {a: _number(address, f"{a}_start", facts.frame.raw, default=0) for a in "zyx"}


def _notes(facts: Facts, start: Mapping[str, int], times: int) -> list[str]:
    channel = facts.channel
    notes = ["a BossDB gives 0 where nothing was stored, which is told from 0 by nobody"]
    if channel.type == "annotation":
        notes.append("an annotation channel, whose voxels are ids: --kind labels keeps them whole")
    if any(start.values()):
        place = ", ".join(f"{axis}={number}" for axis, number in start.items())
        notes.append(f"the channel starts at voxel {place}, which is kept in the record only")
    if channel.base_resolution:
        notes.append(
            f"its own resolution is {channel.base_resolution}; 0 is read, as the server makes it"
        )
    if times > 1:
        notes.append(f"its experiment has {times} time samples, of which it may hold fewer")
    return notes


def _metadata(address: Address, facts: Facts, origin: Mapping[str, Any]) -> dict[str, Any]:
    description = facts.words["channel"].get("description")
    found: dict[str, Any] = {"name": address.channel}
    if isinstance(description, str) and description:
        found["description"] = description
    return {**found, **({"origin": origin} if origin else {}), FORMAT: facts.words}


def _origin(
    start: Mapping[str, int], sizes: Mapping[str, float], unit: str | None
) -> dict[str, Any]:
    """Return where the first voxel lies, nothing where that is 0 or unknown."""
    if not any(start.values()) or set(sizes) != set("zyx"):
        return {}
    return {**{axis: start[axis] * sizes[axis] for axis in "zyx"}, "unit": unit}


def _time_step(experiment: ExperimentResource) -> float | None:
    step, unit = _float(experiment.raw.get("time_step")), experiment.time_step_unit
    return convert(step, unit, "second") if step > 0 and unit else None


def _number(
    address: Address, name: str, words: Mapping[str, Any], default: int | None = None
) -> int:
    value = words.get(name, default)
    whole = isinstance(value, int | float) and not isinstance(value, bool)
    if not whole or not isfinite(value) or value != int(value) or abs(value) > _LARGEST:
        raise SourceError(address, f"{name} {str(value)[:40]!r}: expected a whole number")
    return int(value)


def _float(value: object) -> float:
    """Return a number, 0 for what is none."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number else 0.0  # type: ignore[arg-type]


def _json(words: object) -> Any:  # noqa: ANN401 - JSON of any kind
    """Return what a server said, without numbers and halves of letters that cannot be written."""
    if isinstance(words, dict):
        return {_json(str(key)): _json(value) for key, value in words.items()}
    if isinstance(words, list):
        return [_json(value) for value in words]
    if isinstance(words, str):
        return words.encode(errors="replace").decode()
    return str(words) if isinstance(words, float) and not isfinite(words) else words
