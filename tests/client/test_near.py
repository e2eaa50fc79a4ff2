"""The address of a dataset leads to its layers."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

import microtome
from microtome.errors import AddressError, NotFound
from tests.client.served import Served, serving
from tests.service.conftest import StoreBuilder


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A service with two layers in one dataset, and one in another."""
    with serving("near") as running:
        StoreBuilder(running.store).layer("demo/single/em", "zyx", np.ones((2, 8, 8), "uint8"))
        yield running


def test_the_only_layer_of_a_dataset_is_opened_by_the_address_of_that(served: Served) -> None:
    """Of its page or of its JSON."""
    for url in (f"{served.url}/demo/single", f"{served.url}/api/datasets/demo/single/"):
        volume = microtome.open(url)
        assert (volume.id, volume.url) == ("demo/single/em", f"{served.url}/demo/single/em")
        assert volume[...].sum() == 128


def test_of_several_layers_the_error_names_the_addresses(served: Served) -> None:
    """So that one can be copied; awaited too."""
    words = f"a dataset of 2 layers: open one of {served.url}/demo/brain/.*{served.url}/demo/brain/"
    with pytest.raises(AddressError, match=words):
        microtome.open(f"{served.url}/demo/brain")
    with pytest.raises(AddressError, match=words):
        asyncio.run(microtome.aio.open(f"{served.url}/demo/brain"))


def test_a_dataset_that_there_is_not_is_not_found(served: Served) -> None:
    """As a layer would be."""
    with pytest.raises(NotFound, match="demo/nothing"):
        microtome.open(f"{served.url}/demo/nothing")
