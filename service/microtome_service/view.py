"""The catalog as one principal may see it."""

from dataclasses import dataclass

from microtome_core.names import DatasetId, LayerId
from microtome_core.store.layer import Layer
from microtome_service.catalog import Catalog, Damaged
from microtome_service.principal import Principal


@dataclass(frozen=True, slots=True)
class View:
    """What `principal` may see of `catalog`. Every route looks layers up here.

    Parameters
    ----------
    catalog : Catalog
    principal : Principal
    """

    catalog: Catalog
    principal: Principal

    async def datasets(self) -> tuple[DatasetId, ...]:
        """Return every visible dataset, sorted."""
        return await self.catalog.datasets()

    async def layers(self, dataset: DatasetId) -> tuple[Layer | Damaged, ...]:
        """Return every visible layer of a dataset; raises as `Catalog.layers`."""
        return await self.catalog.layers(dataset)

    async def layer(self, layer_id: LayerId) -> Layer:
        """Return a layer; raises as `Catalog.layer`."""
        return await self.catalog.layer(layer_id)
