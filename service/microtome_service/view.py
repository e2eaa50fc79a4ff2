"""The catalog as one principal may see it, and what they may change."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Never

from microtome_core.errors import NotFound
from microtome_core.names import DatasetId, LayerId
from microtome_core.store.layer import Layer
from microtome_core.store.recording import Recording
from microtome_service.auth.roles import Role
from microtome_service.auth.rules import Rules
from microtome_service.catalog import Catalog, Damaged, Skeleton
from microtome_service.errors import Forbidden, Unauthenticated, Unreadable
from microtome_service.principal import Principal


@dataclass(frozen=True, slots=True)
class View:
    """What `principal` may see and change. Every route looks layers up here.

    A dataset that they may not see is answered like one that is absent, in the same words and
    after the same look at storage.

    Parameters
    ----------
    catalog : Catalog
    principal : Principal
    rules : Rules
        As they are now.
    """

    catalog: Catalog
    principal: Principal
    rules: Rules = field(default_factory=Rules)

    async def datasets(self) -> tuple[DatasetId, ...]:
        """Return every visible dataset, sorted."""
        return tuple(dataset for dataset in await self.catalog.datasets() if self.sees(dataset))

    async def layers(self, dataset: DatasetId) -> tuple[Layer | Damaged, ...]:
        """Return every visible layer of a dataset; raises as `Catalog.layers`."""
        if not self.sees(dataset):
            await self._hide_dataset(dataset)
        return await self.catalog.layers(dataset)

    async def layer(self, layer_id: LayerId) -> Layer:
        """Return a layer; raises as `Catalog.layer`."""
        if not self.sees(layer_id.parent):
            await self._hide_layer(layer_id, self.catalog.layer)
        return await self.catalog.layer(layer_id)

    async def recordings(self, dataset: DatasetId) -> tuple[Recording | Damaged, ...]:
        """Return every visible recording of a dataset; raises as `Catalog.layers`."""
        if not self.sees(dataset):
            await self._hide_dataset(dataset)
        return await self.catalog.recordings(dataset)

    async def recording(self, layer_id: LayerId) -> Recording:
        """Return a recording; raises as `Catalog.recording`."""
        if not self.sees(layer_id.parent):
            await self._hide_layer(layer_id, self.catalog.recording)
        return await self.catalog.recording(layer_id)

    async def entry(self, layer_id: LayerId) -> Layer | Recording:
        """Return a volume or a recording; raises as `Catalog.entry`."""
        if not self.sees(layer_id.parent):
            await self._hide_layer(layer_id, self.catalog.entry)
        return await self.catalog.entry(layer_id)

    async def skeletons(self, dataset: DatasetId) -> tuple[LayerId, ...]:
        """Return the annotations of a visible dataset; raises as `Catalog.layers`."""
        if not self.sees(dataset):
            await self._hide_dataset(dataset)
        return await self.catalog.skeletons(dataset)

    async def skeleton(self, annotation: LayerId) -> Skeleton:
        """Return an annotation; raises as `Catalog.skeleton`."""
        if not self.sees(annotation.parent):
            await self._hide_skeleton(annotation)
        return await self.catalog.skeleton(annotation)

    def role(self, dataset: DatasetId) -> Role:
        """Return the role in a dataset; of one that is public, everybody is a reader."""
        given = self.rules.role(self.principal, dataset)
        return given or Role(self.rules.is_public(dataset))

    def sees(self, dataset: DatasetId) -> bool:
        """Tell whether a dataset of this name may be seen, if there is one."""
        return self.role(dataset) >= Role.READER

    async def check_may_write(self, layer_id: LayerId) -> None:
        """Return if the voxels and the record of a layer may be changed.

        Raises
        ------
        Unauthenticated
            Nobody says who asks; told of every layer alike, whether there is one or not.
        NotFound
            No such layer, or one that may not be seen.
        Forbidden
            It may be seen and no more.
        """
        self._check_known()
        if self.role(layer_id.parent) < Role.WRITER:
            await self.entry(layer_id)
            raise Forbidden(f"{layer_id}: {self.principal.name} may read, not write")

    async def check_may_create(self, dataset: DatasetId) -> None:
        """Return if layers may be made in a dataset, which need not be there yet.

        Raises as `check_may_write`.
        """
        await self._check_role(dataset, Role.WRITER, "create layers")

    async def check_may_administer(self, dataset: DatasetId) -> None:
        """Return if a dataset may be removed, renamed or shown to others.

        Raises as `check_may_write`.
        """
        await self._check_role(dataset, Role.ADMIN, "administer")

    async def check_may_create_in(self, collection: str) -> None:
        """Return if datasets may be made in a collection, which need not be there yet.

        Raises as `check_may_write`.
        """
        self._check_known()
        if self.rules.role_in_collection(self.principal, collection) >= Role.WRITER:
            return
        if any(dataset.collection == collection for dataset in await self.datasets()):
            raise Forbidden(f"{collection}: {self.principal.name} may not create datasets")
        raise NotFound(f"no collection {collection}")

    async def _check_role(self, dataset: DatasetId, role: Role, action: str) -> None:
        self._check_known()
        if self.role(dataset) < role:
            await self.layers(dataset)
            raise Forbidden(f"{dataset}: {self.principal.name} may not {action}")

    def _check_known(self) -> None:
        if self.principal.anonymous:
            raise Unauthenticated("this needs a key or a sign-in: send Authorization: Bearer …")

    async def _hide_dataset(self, dataset: DatasetId) -> Never:
        twin = _twin(dataset)
        await _absent(self.catalog.layers(twin), twin, dataset)
        raise NotFound(f"no dataset {dataset}")

    async def _hide_layer(
        self, layer_id: LayerId, catalog: Callable[[LayerId], Awaitable[object]]
    ) -> Never:
        twin = _twin(layer_id.parent)
        look = catalog(LayerId(twin.collection, twin.dataset, layer_id.layer))
        await _absent(look, twin, layer_id.parent)
        raise NotFound(f"no layer {layer_id}")

    async def _hide_skeleton(self, annotation: LayerId) -> Never:
        twin = _twin(annotation.parent)
        look = self.catalog.skeleton(LayerId(twin.collection, twin.dataset, annotation.layer))
        await _absent(look, twin, annotation.parent)
        raise NotFound(f"no annotation {annotation}")


def _twin(dataset: DatasetId) -> DatasetId:
    """Return a dataset of which there is none, so that looking for it costs what absence costs."""
    return DatasetId(dataset.collection, token_hex(32))


async def _absent(look: Awaitable[object], twin: DatasetId, asked: DatasetId) -> None:
    try:
        await look
    except NotFound:
        return
    except Unreadable as error:
        raise Unreadable(str(error).replace(str(twin), str(asked))) from error
