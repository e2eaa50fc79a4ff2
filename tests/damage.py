"""Damaged copies of real files: cut off, or changed at a few places by a seed; always the same.

``python -m tests.damage SAMPLE CASE FOLDER`` writes one of them, to be looked at.
"""

import io
import os
import random
import shutil
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CUTS, SEEDS = 10, 200
_HEAD = 2048
_MOST_ZEROS = 4096


@dataclass(frozen=True, slots=True)
class Subject:
    """A source and all files that it consists of.

    Parameters
    ----------
    root : str
        The folder that all of them lie below.
    opened : str
        What is opened, below `root`.
    inside : str
        What of it, behind ``::``.
    files : tuple of str
        Below `root`.
    """

    root: str
    opened: str
    files: tuple[str, ...]
    inside: str = ""

    @classmethod
    def of(cls, path: Path, others: Sequence[Path] = (), inside: str = "") -> "Subject":
        """Return a file with the others that belong to it, or a folder with all that is in it."""
        if path.is_dir():
            found = [found for found in sorted(path.rglob("*")) if found.is_file()]
            return cls(str(path.parent), path.name, tuple(_below(path.parent, found)), inside)
        together = sorted({path, *others})
        root = Path(os.path.commonpath([file.parent for file in together]))
        return cls(str(root), _below(root, [path])[0], tuple(_below(root, together)), inside)


@dataclass(frozen=True, slots=True)
class Case:
    """One way to damage a source.

    Parameters
    ----------
    kind : str
        ``cut`` cuts one file off, ``seed`` changes one at a few places or removes a member,
        ``whole`` does nothing.
    number : int
        Which place, or the seed.
    """

    kind: Literal["whole", "cut", "seed"]
    number: int

    @classmethod
    def parse(cls, text: str) -> "Case":
        """Return the case that prints as `text`."""
        for kind in ("whole", "cut", "seed"):
            if text.startswith(kind):
                return cls(kind, int(text.removeprefix(kind) or 0))
        raise ValueError(text)

    def __str__(self) -> str:
        return f"{self.kind}{self.number}"


def put(subject: Subject, case: Case, folder: Path) -> str:
    """Write a damaged copy below `folder`; return what is to be opened."""
    for name in subject.files:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(subject.root, name), target)
    if case.kind != "whole":
        # The same for all versions of Python: a text seeds by its bytes.
        _damage(subject, case, folder, random.Random(f"{subject.opened} {case}"))
    return str(folder / subject.opened) + (f"::{subject.inside}" if subject.inside else "")


def _damage(subject: Subject, case: Case, folder: Path, rng: random.Random) -> None:
    target = folder / rng.choice(subject.files)
    if case.kind == "cut":
        data = target.read_bytes()
        target.write_bytes(data[: cut_at(len(data), case.number)])
        return
    removal = rng.random() < 0.1
    if removal and len(subject.files) > 1:
        target.unlink()
    elif removal and zipfile.is_zipfile(target):
        target.write_bytes(_without_member(target, rng))
    else:
        target.write_bytes(changed(target.read_bytes(), rng))


def cut_at(size: int, number: int) -> int:
    """Return where a file ends that is cut off: without its last byte, or by tenths.

    >>> [cut_at(1000, number) for number in (0, 1, 9)]
    [999, 100, 900]
    """
    return max(size - 1, 0) if number == 0 else size * number // CUTS


def changed(data: bytes, rng: random.Random) -> bytes:
    """Return `data` with one to three small changes, half of them where headers are."""
    result = bytearray(data)
    if result:
        for _ in range(rng.randint(1, 3)):
            rng.choice(_CHANGES)(result, rng)
    return bytes(result)


def _place(data: bytearray, rng: random.Random) -> int:
    """Return where to change: near the beginning or, as often with tables, near the end."""
    choice, near = rng.random(), min(_HEAD, len(data))
    if choice < 0.4:
        return rng.randrange(near)
    return len(data) - 1 - rng.randrange(near) if choice < 0.55 else rng.randrange(len(data))


def _flip(data: bytearray, rng: random.Random) -> None:
    data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _overwrite(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    for i in range(at, min(at + rng.choice((1, 1, 2, 4, 8)), len(data))):
        data[i] = rng.choice((0, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _zero(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    stop = min(at + rng.choice((4, 64, 512, _MOST_ZEROS)), len(data))
    data[at:stop] = bytes(stop - at)


def _exchange(data: bytearray, rng: random.Random) -> None:
    first, second = sorted((_place(data, rng), _place(data, rng)))
    length = min(rng.choice((2, 16, 256)), second - first, len(data) - second)
    one, other = data[first : first + length], data[second : second + length]
    data[first : first + length], data[second : second + length] = other, one


_CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip,
    _flip,
    _overwrite,
    _overwrite,
    _zero,
    _exchange,
)


def _without_member(path: Path, rng: random.Random) -> bytes:
    """Return an archive that lacks one of its members, or its bytes where there is none."""
    result = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as whole, zipfile.ZipFile(result, "w") as rest:
            names = whole.namelist()
            lost = rng.choice(names) if names else None
            for info in whole.infolist():
                if info.filename != lost:
                    rest.writestr(info, whole.read(info))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
        return changed(path.read_bytes(), rng)  # was damaged before
    return result.getvalue()


def _below(root: Path, files: Sequence[Path]) -> list[str]:
    return [file.relative_to(root).as_posix() for file in files]


if __name__ == "__main__":
    sample, what, into = sys.argv[1:]
    print(put(Subject.of(Path(sample)), Case.parse(what), Path(into)))
