"""Which arrays an HDF5 file holds, and whether one may be read."""

from collections.abc import Mapping
from posixpath import join, normpath
from typing import Any

import h5py  # type: ignore[import-untyped]

from microtome_core.dtypes import check_dtype
from microtome_core.errors import InputError, SourceError

_MOST_AXES = 6
_MOST_LINKS = 16
_LISTED = 20


def images(file: Any) -> list[str]:  # noqa: ANN401 - h5py has no types
    """Return the paths of all arrays of numbers with two axes at least, in the order of names.

    Links are not followed: what they lead to within the file is found where it lies.
    """
    return [path for path, found in _arrays(file).items() if refusal(found, links=False) is None]


def find(file: Any, path: str, name: str) -> Any:  # noqa: ANN401
    """Return the dataset at a path after following soft links, which stay within the file.

    Parameters
    ----------
    file : h5py.File
    path : str
        Within the file.
    name : str
        Of the file, for messages.

    Raises
    ------
    SourceError
        Nothing there (the message lists what is), a link that leads out of the file, or what is no
        array of numbers.
    """
    path, outside = followed(file, path, name)
    if outside is not None:
        raise SourceError(name, f"{path} leads into another file, {outside!r}: refused")
    found = file[path]
    reason = refusal(found)
    if reason is not None:
        raise SourceError(name, f"{path} {reason}")
    return found


def refusal(dataset: Any, *, links: bool = True) -> str | None:  # noqa: ANN401
    """Return in words why a dataset is not read, or None; `links`: also where its voxels lie."""
    if not isinstance(dataset, h5py.Dataset):
        return "is no array"
    if dataset.shape is None:
        return "is empty"
    if not 2 <= dataset.ndim <= _MOST_AXES or 0 in dataset.shape:
        return f"has shape {dataset.shape}: expected 2 to {_MOST_AXES} axes, and voxels"
    try:
        check_dtype(dataset.dtype)
    except (InputError, TypeError) as error:
        return f"has {error}"
    return _elsewhere(dataset) or _undecodable(dataset) if links else None


def nothing(file: Any, name: str) -> SourceError:  # noqa: ANN401
    """Return the error of a file without images."""
    what = "holds no array of numbers with two axes or more"
    found = [dataset for dataset in _arrays(file).values() if len(dataset.shape or ()) > 1]
    reason = refusal(found[0], links=False) if found else None
    more = f"; {found[0].name} {reason}" if reason else ""
    return SourceError(name, f"{what}; {listing(file)}{more}")


def _elsewhere(dataset: Any) -> str | None:  # noqa: ANN401
    if dataset.external:
        return f"keeps its voxels in another file, {dataset.external[0][0]!r}: refused"
    if dataset.is_virtual:
        return "is virtual: its voxels lie in other datasets or files; name one of those"
    return None


def _undecodable(dataset: Any) -> str | None:  # noqa: ANN401
    plist = dataset.id.get_create_plist()
    for i in range(plist.get_nfilters()):
        number, _, words, title = plist.get_filter(i)
        if number == h5py.h5z.FILTER_SZIP and not _szip(words, dataset.dtype.itemsize):
            return f"is compressed with szip, whose parameters {words} are damaged"
        if not h5py.h5z.filter_avail(number):
            text = title.decode(errors="replace") or "unnamed"
            return f"is compressed with filter {number} ({text}), which is not available"
    return None


def _szip(words: tuple[int, ...], itemsize: int) -> bool:
    """Tell whether parameters of szip are in the ranges beyond which its library crashes.

    They are options, pixels of a block, bits of a pixel and pixels of a scanline (H5Zszip.c).
    """
    if len(words) != 4:
        return False
    _, block, bits, line = words
    in_range = 0 < block <= 32 and 0 < bits <= 8 * itemsize
    return in_range and block % 2 == 0 and block <= line <= 128 * block


def followed(file: Any, path: str, name: str) -> tuple[str, str | None]:  # noqa: ANN401
    """Return a path without links, and the other file that it is in, if a link leads there.

    Raises
    ------
    SourceError
        Nothing there, or too many links on the way.
    """
    for _ in range(_MOST_LINKS):
        target, outside = _next_link(file, _parts(path), path, name)
        if target is None or outside is not None:
            return target or path, outside
        path = target
    raise SourceError(name, f"{path}: more than {_MOST_LINKS} links on the way")


def _next_link(
    file: Any,  # noqa: ANN401
    parts: list[str],
    path: str,
    name: str,
) -> tuple[str | None, str | None]:
    """Return the path with its first link put in place, None where there is none, and its file."""
    group, before = file, "/"
    for i, part in enumerate(parts):
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None:
            raise SourceError(name, f"holds no {path}; {listing(file)}")
        if isinstance(link, h5py.ExternalLink):
            return join("/", link.path, *parts[i + 1 :]), link.filename
        if isinstance(link, h5py.SoftLink):
            return normpath(join(before, link.path, *parts[i + 1 :])), None
        group, before = group[part], join(before, part)
    return None, None


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _arrays(file: Any) -> Mapping[str, Any]:  # noqa: ANN401
    found: dict[str, Any] = {}

    def visit(path: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[f"/{path}"] = item

    file.visititems(visit)
    return found


def listing(file: Any) -> str:  # noqa: ANN401
    """Return in words which arrays are in a file."""
    found = [
        f"{path} {item.shape} {item.dtype}" for path, item in _arrays(file).items() if item.shape
    ]
    if not found:
        return "it holds no arrays"
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return "it holds " + ", ".join(found[:_LISTED]) + more
