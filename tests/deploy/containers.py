"""Images that are really built, pods that really run: buildah, podman, a base by debootstrap.

It works as root, without a daemon, a registry or a network of its own: pods share the host's.
MICROTOME_CONTAINERS names a folder that is kept, with what was built in it; without it a new one is
made, which takes minutes, and removed.
"""

import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from microtome_core import __version__

PROGRAMS = ("buildah", "podman", "runc", "debootstrap", "catatonit", "node", "npm")
BASE, NODE = "localhost/python:3.13", "localhost/node:1"
ROOT = Path(__file__).parents[2]
_SUITE, _MIRROR = "trixie", "http://deb.debian.org/debian"
# What the builder needs of this machine to reach the package indexes, and never of an image.
_BORROWED = ("/etc/pip.conf", "/etc/ssl/certs")
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def missing() -> list[str]:
    """Return the programs that are not installed, or say that nobody else may use them."""
    absent = [program for program in PROGRAMS if not shutil.which(program)]
    return absent if os.geteuid() == 0 else [*absent, "the rights of root"]


def image(target: str) -> str:
    """Return the name of an image of ours."""
    name = "microtome" if target == "service" else f"microtome-{target}"
    return f"localhost/{name}:{__version__}"


@dataclass(frozen=True, slots=True)
class Engine:
    """Storage for images and containers below a folder, and the programs that use it.

    Parameters
    ----------
    folder : Path
    driver : str
        Of the storage: ``overlay``, or where that cannot be mounted ``vfs``, which copies.
    """

    folder: Path
    driver: str

    def run(self, *words: str, check: bool = True, timeout: float = 240) -> str:
        """Run podman and return what it prints."""
        return self._run("podman", words, check=check, timeout=timeout)

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what podman knows of a container or an image."""
        found: dict[str, Any] = json.loads(self.run("inspect", name))[0]
        return found

    def play(self, objects: Sequence[dict[str, Any]]) -> Path:
        """Start what manifests describe, and return the file by which `down` ends it."""
        path = self.folder / f"play-{time.monotonic_ns()}.yaml"
        path.write_text(yaml.safe_dump_all(objects))
        self.run("kube", "play", "--network", "host", str(path))
        return path

    def down(self, path: Path) -> None:
        """End what `play` has started."""
        self.run("kube", "down", str(path), check=False)

    def wait(self, container: str, seconds: float = 240) -> int:
        """Wait for the end of a container, and return its exit code."""
        return int(self.run("wait", container, timeout=seconds).split()[-1])

    def build(self, target: str) -> None:
        """Build an image of ours, unless it is there."""
        if self._has(image(target)):
            return
        self._make_bases()
        borrowed = [f"--volume={path}:{path}:ro" for path in _BORROWED if Path(path).exists()]
        words = ["bud", "--isolation", "chroot", "--format", "docker", "--layers", *borrowed]
        words += ["--build-arg", f"BASE={BASE}", "--build-arg", f"NODE={NODE}", "--target", target]
        words += ["--tag", image(target), "--file", str(ROOT / "deploy/Dockerfile"), str(ROOT)]
        self._run("buildah", words, timeout=1500)

    def _make_bases(self) -> None:
        if not self._has(BASE):
            self._bootstrap()
        if not self._has(NODE):
            self._add_node()

    def _bootstrap(self) -> None:
        """Make what stands for python:3.13-slim of Debian's own packages."""
        tree, packed = self.folder / "tree", self.folder / "tree.tar"
        packages = "--include=python3,python3-venv,ca-certificates"
        command = ["debootstrap", "--variant=minbase", packages, _SUITE, str(tree), _MIRROR]
        subprocess.run(command, check=True, capture_output=True, timeout=900)
        for path in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(tree / path)
        subprocess.run(["tar", "-C", str(tree), "-cf", str(packed), "."], check=True)
        self.run("import", str(packed), BASE)
        shutil.rmtree(tree)
        packed.unlink()

    def _add_node(self) -> None:
        """Add this machine's Node.js to it, for the one stage that needs it."""
        modules = subprocess.run(["npm", "root", "-g"], check=True, capture_output=True, text=True)
        npm = Path(modules.stdout.strip()) / "npm"
        with tempfile.TemporaryDirectory(dir=self.folder) as context:
            shutil.copy(Path(shutil.which("node") or "").resolve(), Path(context) / "node")
            shutil.copytree(npm, Path(context) / "npm", symlinks=True)
            lines = [
                f"FROM {BASE}",
                "COPY node /usr/bin/node",
                "COPY npm /usr/lib/node_modules/npm",
                "RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/bin/npm",
                f"ENV NODE_EXTRA_CA_CERTS={_CERTIFICATES}",
            ]
            (Path(context) / "Dockerfile").write_text("\n".join(lines))
            words = ["bud", "--isolation", "chroot", "--format", "docker", "--tag", NODE, context]
            self._run("buildah", words, timeout=600)

    def _has(self, name: str) -> bool:
        return bool(self.run("images", "--quiet", name))

    def _run(
        self, program: str, words: Sequence[str], *, check: bool = True, timeout: float = 240
    ) -> str:
        places = ["--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run"]
        command = [program, *places, "--storage-driver", self.driver, *words]
        environment = {**os.environ, "CONTAINERS_CONF": str(self._configuration())}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, timeout=timeout
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def _configuration(self) -> Path:
        """Write what podman needs where there is no systemd, and limits may not be raised."""
        files = min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        path = self.folder / "containers.conf"
        path.write_text(
            f'[containers]\ndefault_ulimits = ["nofile={files}:{files}", "nproc=4096:4096"]\n'
            'log_driver = "k8s-file"\n[engine]\ncgroup_manager = "cgroupfs"\nruntime = "runc"\n'
            'events_logger = "file"\n'
        )
        return path


def _can_overlay(folder: Path) -> bool:
    """Try whether layers can be laid over each other rather than copied."""
    with tempfile.TemporaryDirectory(dir=folder) as tried:
        names = ("lowerdir", "upperdir", "workdir", "merged")
        *layers, merged = (Path(tried) / name for name in names)
        for path in (*layers, merged):
            path.mkdir()
        options = ",".join(f"{path.name}={path}" for path in layers)
        command = ["mount", "-t", "overlay", "overlay", "-o", options, str(merged)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return False
        subprocess.run(["umount", str(merged)], check=True)
        return True


@contextmanager
def engine() -> Iterator[Engine]:
    """Yield an engine; end what runs in it, and remove it unless it is to be kept."""
    kept = os.environ.get("MICROTOME_CONTAINERS")
    folder = Path(kept or tempfile.mkdtemp(prefix="containers-"))
    made = Engine(folder, "overlay" if _can_overlay(folder) else "vfs")
    try:
        yield made
    finally:
        made.run("pod", "rm", "--all", "--force", check=False)
        made.run("rm", "--all", "--force", check=False)
        made.run("volume", "rm", "--all", "--force", check=False)
        if not kept:
            made.run("image", "unmount", "--all", check=False)
            shutil.rmtree(folder)
