"""Files behind ``counted://``: in memory, with a count of what was asked for, and ways to fail."""

from collections.abc import Callable
from typing import Any, ClassVar

import fsspec


class Counted(fsspec.AbstractFileSystem):
    """A filesystem of bytes by path; `reset` before use."""

    protocol = "counted"
    cachable = False
    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[tuple[str, int, int]]] = []
    # Called with path, start and stop before an answer, and what it returns is the answer.
    fault: ClassVar[Callable[[str, int, int], bytes | None] | None] = None

    @classmethod
    def reset(cls) -> None:
        """Forget all files and what was asked for."""
        cls.files.clear()
        cls.asked.clear()
        cls.fault = None

    @classmethod
    def put(cls, name: str, data: bytes) -> str:
        """Hold one file more; return its URL."""
        cls.files[name] = data
        return f"counted://{name}"

    @classmethod
    def fetched(cls) -> int:
        """Bytes that were asked for since the last `reset`."""
        return sum(stop - start for _, start, stop in cls.asked)

    def info(self, path: str, **_: object) -> dict[str, Any]:
        """Describe a file or a folder."""
        path = self._strip_protocol(path)
        if path in self.files:
            data = self.files[path]
            version = f"{len(data)}-{hash(data)}"
            return {"name": path, "type": "file", "size": len(data), "ETag": version}
        if any(name.startswith(f"{path}/") for name in self.files):
            return {"name": path, "type": "directory", "size": 0}
        raise FileNotFoundError(path)

    def ls(self, path: str, detail: bool = True, **_: object) -> list[Any]:
        """List a folder of files."""
        path = self._strip_protocol(path)
        names = [name for name in self.files if name.rpartition("/")[0] == path]
        return [self.info(name) if detail else name for name in names]

    def cat_file(self, path: str, start: int = 0, end: int = 0, **_: object) -> bytes:
        """Return a range, and note it."""
        path = self._strip_protocol(path)
        type(self).asked.append((path, start, end))
        answer = self.fault(path, start, end) if self.fault else None
        return self.files[path][start:end] if answer is None else answer


fsspec.register_implementation("counted", Counted, clobber=True)
