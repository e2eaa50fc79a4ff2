"""A Ceph object gateway of one machine: a monitor, a store in memory and RGW, as processes.

Unlike moto it verifies signatures and digests. The programs come from the packages ``ceph-mon``,
``ceph-osd`` and ``radosgw``.
"""

import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import boto3

PROGRAMS = (
    "ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin", "setpriv",
)  # fmt: skip
REGION = "us-east-1"

# One copy on one store that lives in memory; no passwords between the daemons.
_SETTINGS = """
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{monitor}
mon_data = {folder}/mon
mon_allow_pool_size_one = true
public_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
# RGW asks for "secure" by itself, which needs passwords.
ms_mon_client_mode = crc
osd_data = {folder}/osd
osd_objectstore = memstore
osd_crush_chooseleaf_type = 0
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_memory_target = 939524096
memstore_device_bytes = 4294967296
rgw_data = {folder}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{gateway}
rgw_dynamic_resharding = false
rgw_enable_gc_threads = false
rgw_enable_lc_threads = false
run_dir = {folder}
log_file = {folder}/$name.log
admin_socket =
"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A gateway and a user of it.

    Parameters
    ----------
    url : str
    access_key, secret_key : str
    """

    url: str
    access_key: str
    secret_key: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a client finds the gateway."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
        }

    def create_bucket(self, name: str) -> None:
        """Make a bucket of the user."""
        session = boto3.Session(self.access_key, self.secret_key, region_name=REGION)
        session.client("s3", endpoint_url=self.url).create_bucket(Bucket=name)


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [program for program in PROGRAMS if not shutil.which(program)]


@contextmanager
def running(folder: Path, unused_port: Callable[[], int]) -> Iterator[Endpoint]:
    """Run the cluster in `folder`, with a user of its own; it ends with the block."""
    cluster = _Cluster(folder, monitor=unused_port(), gateway=unused_port())
    with ExitStack() as daemons:
        cluster.start_monitor(daemons)
        cluster.start_store(daemons)
        yield cluster.start_gateway(daemons)


class _Cluster:
    def __init__(self, folder: Path, monitor: int, gateway: int) -> None:
        self._folder, self._monitor = folder, monitor
        self._url = f"http://127.0.0.1:{gateway}"
        self._fsid = str(uuid4())
        for part in ("mon", "osd", "rgw"):
            (folder / part).mkdir()
        settings = _SETTINGS.format(
            fsid=self._fsid, monitor=monitor, gateway=gateway, folder=folder
        )
        (folder / "ceph.conf").write_text(settings)

    def start_monitor(self, daemons: ExitStack) -> None:
        """Start a quorum of one."""
        monmap = str(self._folder / "monmap")
        address = f"[v2:127.0.0.1:{self._monitor}]"
        words = ["--create", "--fsid", self._fsid, "--addv", "a", address, monmap]
        subprocess.run(["monmaptool", *words], check=True, capture_output=True, timeout=60)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self._start(daemons, "ceph-mon", "-i", "a")

    def start_store(self, daemons: ExitStack) -> None:
        """Start the one object store."""
        uuid = str(uuid4())
        self._run("ceph", "osd", "new", uuid)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", uuid)
        self._start(daemons, "ceph-osd", "-i", "0")

    def start_gateway(self, daemons: ExitStack) -> Endpoint:
        """Start the S3 side and make a user."""
        gateway = self._start(daemons, "radosgw", "-n", "client.rgw")
        user = Endpoint(self._url, uuid4().hex[:20].upper(), uuid4().hex)
        self._run(
            "radosgw-admin", "user", "create", "--uid", "tester", "--display-name", "tester",
            "--access-key", user.access_key, "--secret-key", user.secret_key,
        )  # fmt: skip
        _wait(self._url, gateway)
        return user

    def _run(self, *words: str) -> None:
        subprocess.run(self._words(*words), check=True, capture_output=True, timeout=120)

    def _start(self, daemons: ExitStack, *program: str) -> "subprocess.Popen[bytes]":
        # A daemon ends with the tests, however these end.
        words = ["setpriv", "--pdeathsig", "KILL", *self._words(*program, "-f")]
        daemon = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        daemons.callback(_end, daemon)
        return daemon

    def _words(self, program: str, *words: str) -> list[str]:
        return [program, "-c", str(self._folder / "ceph.conf"), *words]


def _end(daemon: "subprocess.Popen[bytes]") -> None:
    # Nothing of it is kept, so nothing need be written at its end.
    daemon.kill()
    daemon.wait(60)


def _wait(url: str, gateway: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except OSError:
            assert gateway.poll() is None, "the gateway ended at its start"
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(url)
