"""Look-ups: which collections, experiments, channels and frames there are for whoever asks.

====================  ==========================================================================
BossDB                microtome
====================  ==========================================================================
collection            collection
experiment            dataset; layers of other extents than its frame are ``dataset--layer``
channel               layer; ``layer--c0`` … where it has several, ``layer`` then is ``layer--c0``
coordinate frame      what was written down, or ``CF_collection_experiment``
====================  ==========================================================================
"""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass

from microtome_core.errors import InputError, NotFound
from microtome_core.names import DatasetId, LayerId
from microtome_core.store.layer import Layer
from microtome_service.auth.roles import Role
from microtome_service.bossdb.channels import Channel, channel_at, channels_of, split_name
from microtome_service.bossdb.frames import Frame, Group, frame_of, group
from microtome_service.bossdb.levels import count_served, count_shown
from microtome_service.bossdb.records import ExperimentRecord, FrameRecord, Records
from microtome_service.view import View

_FRAME = re.compile(r"CF_(.+)_E_(.+)")


@dataclass(frozen=True, slots=True)
class Experiment:
    """A dataset, or those of its layers that have a frame of their own.

    Parameters
    ----------
    dataset : DatasetId
    name : str
        The dataset's, or ``dataset--layer``.
    frame_name : str
        Empty where there is no frame.
    frame : Frame or None
    layers : tuple of Layer
    record : ExperimentRecord
        What was written down of the dataset.
    """

    dataset: DatasetId
    name: str
    frame_name: str
    frame: Frame | None
    layers: tuple[Layer, ...]
    record: ExperimentRecord

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Those for which BossDB has a type, by name of the layer."""
        return tuple(channel for layer in self.layers for channel in channels_of(layer))

    @property
    def resolutions(self) -> int:
        """How many resolutions every channel serves, of those that one of them shows."""
        infos = [channel.info for channel in self.channels]
        if not infos:
            return self.record.num_hierarchy_levels or 1
        return min(max(map(count_shown, infos)), *map(count_served, infos))


class Resources:
    """The store in BossDB's words, as one principal may see it.

    Parameters
    ----------
    view : View
    records : Records
        What was written down by those who created resources.
    """

    def __init__(self, view: View, records: Records) -> None:
        self._view = view
        self._records = records

    async def collections(self) -> list[str]:
        """Return the names of all collections."""
        found = {dataset.collection for dataset in await self._view.datasets()}
        created = await self._records.collections()
        return sorted(found.union(filter(self._sees, created)))

    async def experiments(self, collection: str) -> list[str]:
        """Return the names of a collection's experiments.

        Raises
        ------
        NotFound
            No such collection.
        """
        await self.check_collection(collection)
        datasets = [d for d in await self._view.datasets() if d.collection == collection]
        return [e.name for e in await self._all(datasets)]

    async def check_collection(self, collection: str) -> None:
        """Raise NotFound unless there is such a collection."""
        known = {dataset.collection for dataset in await self._view.datasets()}
        created = await self._records.has_collection(collection)
        if collection not in known and not (created and self._sees(collection)):
            raise NotFound(f"no collection {collection[:80]!r}")

    async def experiment(self, collection: str, name: str) -> Experiment:
        """Return one experiment.

        Raises
        ------
        NotFound
            No such experiment.
        """
        for dataset, layer in _datasets(collection, name):
            try:
                found = await self._experiments(dataset)
            except NotFound:
                continue
            if layer is None:
                return found[0]
            for experiment in found:
                if layer in {each.info.layer_id.layer for each in experiment.layers}:
                    return _named(experiment, name)
        raise NotFound(f"no experiment {name[:80]!r} in collection {collection[:80]!r}")

    async def channel(self, collection: str, experiment: str, name: str) -> Channel:
        """Return one channel, whether or not it has the frame of its experiment.

        Raises
        ------
        NotFound
            No such channel.
        TypeMismatch
            BossDB has no type for it.
        Unreadable
            Its metadata cannot be read.
        """
        for dataset, _ in _datasets(collection, experiment):
            for layer_name, index in _layers(name):
                try:
                    layer_id = LayerId(dataset.collection, dataset.dataset, layer_name)
                    layer = await self._view.layer(layer_id)
                except (NotFound, InputError):
                    continue
                return channel_at(layer, index)
        raise NotFound(
            f"no channel {name[:80]!r} in experiment {experiment[:80]!r} "
            f"of collection {collection[:80]!r}"
        )

    async def framed_channel(self, collection: str, experiment: str, name: str) -> Channel:
        """Return one channel that has the frame of its experiment; raises as `channel`.

        intern would else take the shape of another.
        """
        channel = await self.channel(collection, experiment, name)
        home = await self.experiment(collection, experiment)
        if home.frame is not None and not home.frame.fits(frame_of(channel.info)):
            layer = channel.info.layer_id
            raise NotFound(
                f"layer {layer} has extents or a voxel size of its own: "
                f"it is channel {channel.name} of experiment {layer.dataset}--{layer.layer}"
            )
        return channel

    async def frames(self) -> list[str]:
        """Return the names of all coordinate frames."""
        found = await self._all(await self._view.datasets())
        names = {each.frame_name for each in found if each.frame is not None}
        for name in set(await self._records.frames()) - names:
            record = await self._records.frame(name)
            if record is not None and self._sees_frame(record):
                names.add(name)
        return sorted(names)

    async def frame(self, name: str) -> tuple[Frame, str]:
        """Return a coordinate frame and its description; NotFound if there is none.

        That of a dataset comes before one of the same name that somebody created.
        """
        found = await self._frame_of_experiment(name)
        if found is not None and found.frame is not None:
            return found.frame, await self._described(found)
        record = await self._records.frame(name)
        if record is None or not self._sees_frame(record):
            raise NotFound(f"no coordinate frame {name[:80]!r}")
        return record.frame, record.description

    async def _frame_of_experiment(self, name: str) -> Experiment | None:
        for collection, experiment in places_of_frame(name):
            try:
                found = await self.experiment(collection, experiment)
            except NotFound:
                continue
            if found.frame_name == name:
                return found
        return None

    async def _described(self, found: Experiment) -> str:
        if found.record.coord_frame == found.frame_name:
            record = await self._records.frame(found.frame_name)
            return record.description if record else ""
        words = "; nobody knows the voxel size, for which 1 stands"
        return f"of {found.dataset}{'' if found.frame and found.frame.known else words}"

    def _sees(self, collection: str) -> bool:
        """Tell whether a collection that somebody created may be seen, if nothing is in it."""
        rules, who = self._view.rules, self._view.principal
        public = rules.public.get(collection, rules.default_public)
        return public or rules.role_in_collection(who, collection) > Role.NONE

    def _sees_frame(self, record: FrameRecord) -> bool:
        """Tell whether a frame may be seen: by its creator, and with what it is used by."""
        who = self._view.principal
        # What nobody in particular created is everybody's until something uses it.
        if record.creator == who.name and not (who.anonymous and record.used_by):
            return True
        return any(self._view.sees(DatasetId(*place.split("/"))) for place in record.used_by)

    async def _all(self, datasets: Iterable[DatasetId]) -> list[Experiment]:
        found = await asyncio.gather(*(self._or_none(dataset) for dataset in datasets))
        return [experiment for some in found for experiment in some]

    async def _or_none(self, dataset: DatasetId) -> tuple[Experiment, ...]:
        try:
            return await self._experiments(dataset)
        except NotFound:  # gone since it was listed
            return ()

    async def _experiments(self, dataset: DatasetId) -> tuple[Experiment, ...]:
        """Return a dataset's experiments, the one of its own name first."""
        layers = [each for each in await self._view.layers(dataset) if isinstance(each, Layer)]
        record = await self._records.experiment(dataset)
        kept = await self._records.frame(record.coord_frame) if record.coord_frame else None
        groups = group(layers, kept.frame if kept else None)
        if not groups:
            return (Experiment(dataset, dataset.dataset, "", None, (), record),)
        return tuple(_experiment(dataset, each, i, record) for i, each in enumerate(groups))


def _experiment(
    dataset: DatasetId, found: Group, index: int, record: ExperimentRecord
) -> Experiment:
    name = dataset.dataset if index == 0 else f"{dataset.dataset}--{found.first}"
    recorded = record.coord_frame if index == 0 else ""
    frame_name = recorded or name_of_frame(dataset.collection, name)
    return Experiment(dataset, name, frame_name, found.frame, found.layers, record)


def _named(experiment: Experiment, name: str) -> Experiment:
    """Return the same under the name by which it was asked for; its frame keeps its own."""
    return Experiment(
        experiment.dataset, name, experiment.frame_name, experiment.frame, experiment.layers,
        experiment.record,
    )  # fmt: skip


def name_of_frame(collection: str, experiment: str) -> str:
    """Return what the frame of an experiment is called: as intern would call it, if that is clear.

    >>> name_of_frame("demo", "brain_1"), name_of_frame("my_demo", "brain")
    ('CF_demo_brain_1', 'CF_my_demo_E_brain')
    """
    between = "_E_" if "_" in collection else "_"
    return f"CF_{collection}{between}{experiment}"


def places_of_frame(name: str) -> list[tuple[str, str]]:
    """Return every collection and experiment that a frame's name may stand for."""
    exact = _FRAME.fullmatch(name)
    if exact:
        return [(exact[1], exact[2])]
    words = name.split("_")
    if words[0] != "CF":
        return []
    return [("_".join(words[1:i]), "_".join(words[i:])) for i in range(2, len(words))]


def _datasets(collection: str, experiment: str) -> list[tuple[DatasetId, str | None]]:
    """Return every dataset, and layer that gives its frame, that an experiment may stand for."""
    words = experiment.split("--")
    cuts = [(experiment, None), *(
        ("--".join(words[:i]), "--".join(words[i:])) for i in range(1, len(words))
    )]  # fmt: skip
    found: list[tuple[DatasetId, str | None]] = []
    for dataset, layer in cuts:
        try:
            found.append((DatasetId(collection, dataset), layer))
        except InputError:
            continue
    return found


def _layers(name: str) -> list[tuple[str, int]]:
    """Return every layer and index that a channel's name may stand for."""
    part = split_name(name)
    return [(name, 0), *([part] if part else [])]
