"""Extents as users write them, laid along the axes of an image."""

import pytest

from microtome_core.errors import InputError
from microtome_ingest.extents import Extents


@pytest.mark.parametrize(
    ("text", "example"),
    [
        ("16,64,64", "such as 1,16,64,64 or z=16,y=64,x=64"),
        ("16,64", "such as 1,64,64,64 or z=64,y=64,x=64"),
        ("z=16,y=64", "such as 1,64,64,64 or z=64,y=64,x=64"),
    ],
)
def test_numbers_that_do_not_fit_the_axes_are_shown_how(text: str, example: str) -> None:
    """The option is named, and the example may be typed as it stands."""
    with pytest.raises(InputError, match=f"--chunk '{text}': .* of 'czyx', {example}$"):
        Extents.parse(text).along("czyx", "--chunk")
    written = example.removeprefix("such as ").partition(" or ")
    assert len({Extents.parse(word).along("czyx") for word in (written[0], written[2])}) == 1
