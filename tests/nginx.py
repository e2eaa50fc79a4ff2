"""Debian's nginx with the configuration that is shipped, its folders and addresses replaced."""

import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SHIPPED = Path(__file__).parents[1] / "deploy/nginx"


@dataclass(frozen=True, slots=True)
class Proxy:
    """An nginx that runs.

    Parameters
    ----------
    url : str
    folder : Path
        With its ``cache``, ``temporary`` files and ``access.log``.
    pid : int
        Of its master.
    """

    url: str
    folder: Path
    pid: int

    @property
    def kept(self) -> list[Path]:
        """The files of its cache."""
        return [path for path in (self.folder / "cache").rglob("*") if path.is_file()]


def program() -> str | None:
    """Return where nginx is; Debian keeps it where no shell looks."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def running(
    folder: Path, port: int, services: Sequence[str], changes: Mapping[str, str] | None = None
) -> Iterator[Proxy]:
    """Run it before some services until the block ends.

    Parameters
    ----------
    folder : Path
        An empty one.
    services : sequence of str
        ``host:port``.
    changes : mapping of str to str
        Directives whose values a test needs otherwise; each must be there.
    """
    config = write_config(folder, port, services, changes or {})
    words = [program() or "nginx", "-c", str(config), "-g", "daemon off;"]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process)
            yield Proxy(url, folder, process.pid)
        finally:
            process.terminate()
            process.wait(20)


def write_config(
    folder: Path, port: int, services: Sequence[str], changes: Mapping[str, str]
) -> Path:
    """Copy what is shipped, with what differs from machine to machine replaced."""
    for name in ("cache", "temporary"):
        (folder / name).mkdir(parents=True)
    texts = {path.name: path.read_text() for path in SHIPPED.glob("*.conf")}
    servers = "\n".join(f"server {one} max_fails=2 fail_timeout=5s;" for one in services)
    main = _replaced(
        texts["nginx.conf"],
        {
            r"user \S+;": "user root;" if os.geteuid() == 0 else "",
            r"pid \S+;": f"pid {folder}/nginx.pid;",
            r"listen 80;": f"listen 127.0.0.1:{port};",
            r"(?:\s+server 127\S+ [^;]*;)+": f"\n{servers}\n",
            r"http \{": "http {\n" + "".join(
                f"{kind}_temp_path {folder}/temporary/{kind};\n"
                for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            ),
        },
    )  # fmt: skip
    texts["nginx.conf"] = main
    for name, value in changes.items():
        found = [n for n, text in texts.items() if re.search(rf"\b{name} [^;]*;", text)]
        assert found, f"no directive {name} is shipped"
        for each in found:
            texts[each] = re.sub(rf"\b{name} [^;]*;", f"{name} {value};", texts[each])
    for name, text in texts.items():
        moved = text.replace("/var/log/nginx", str(folder))
        moved = moved.replace("/var/cache/nginx/microtome", f"{folder}/cache")
        (folder / name).write_text(moved.replace("/etc/nginx/microtome", str(folder)))
    return folder / "nginx.conf"


def _replaced(text: str, changes: Mapping[str, str]) -> str:
    for pattern, value in changes.items():
        text, count = re.subn(pattern, lambda _, value=value: value, text, count=1)  # type: ignore[misc]
        assert count == 1, f"{pattern} is not shipped any more"
    return text


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{url}/metrics", timeout=1).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            assert process.poll() is None, "nginx ended at its start"
            time.sleep(0.05)
    raise TimeoutError(url)
