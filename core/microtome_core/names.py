"""Names of collections, datasets and layers, the three of them together, and of channels."""

import re
from dataclasses import dataclass

from microtome_core.errors import InputError

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
_NAME = re.compile(NAME_PATTERN)
_NUMBERED = "channel-"
# What every group's metadata are called, which lie beside what is named.
_TAKEN = "zarr.json"


def check_name(name: str) -> str:
    """Return `name` if it may name a collection, dataset or layer.

    >>> check_name("prasad2020")
    'prasad2020'

    Raises
    ------
    InputError
        Anything but 1 to 64 lower-case letters, digits, dots, underscores and hyphens
        that start with a letter or digit; or ``zarr.json``.
    """
    if name == _TAKEN:
        raise InputError(f"name {name!r}: is that of the metadata; expected another")
    # fullmatch: `$` alone lets a trailing newline through.
    if not _NAME.fullmatch(name):
        raise InputError(
            f"name {name[:80]!r}: expected 1 to 64 of a-z, 0-9, '.', '_' and '-', "
            "starting with a letter or digit"
        )
    return name


@dataclass(frozen=True, slots=True, order=True)
class DatasetId:
    """The address of a dataset: ``collection/dataset``."""

    collection: str
    dataset: str

    def __post_init__(self) -> None:
        check_name(self.collection)
        check_name(self.dataset)

    def __str__(self) -> str:
        return f"{self.collection}/{self.dataset}"


@dataclass(frozen=True, slots=True, order=True)
class LayerId:
    """The address of a layer: ``collection/dataset/layer``.

    >>> LayerId.parse("demo/brain/neurons").dataset
    'brain'
    """

    collection: str
    dataset: str
    layer: str

    def __post_init__(self) -> None:
        check_name(self.collection)
        check_name(self.dataset)
        check_name(self.layer)

    def __str__(self) -> str:
        return f"{self.collection}/{self.dataset}/{self.layer}"

    @property
    def parent(self) -> DatasetId:
        """The dataset that holds this layer."""
        return DatasetId(self.collection, self.dataset)

    @classmethod
    def parse(cls, text: str) -> "LayerId":
        """Read ``collection/dataset/layer``."""
        parts = text.split("/")
        if len(parts) != 3:
            raise InputError(f"{text[:200]!r}: expected collection/dataset/layer")
        return cls(*parts)


def numbered_channel(number: int) -> str:
    """Return the name of a channel to which nobody gave one."""
    return f"{_NUMBERED}{number}"


def is_numbered_channel(name: str) -> bool:
    """Tell whether a channel's name was made of its number, so that it says nothing.

    >>> is_numbered_channel("channel-1"), is_numbered_channel("channel-red")
    (True, False)
    """
    number = name.removeprefix(_NUMBERED)
    return number != name and number.isascii() and number.isdigit()


def is_index(word: str, count: int) -> bool:
    """Tell whether a word is the number of one of so many channels, rather than a name.

    >>> is_index("1", 2), is_index("488", 2), is_index("GFP", 2)
    (True, False, False)
    """
    return word.isascii() and word.isdigit() and len(word) <= 18 and int(word) < count
