"""What manifests start, as pods of podman: confined as they say, and on the network of the host."""

import http.client
import re
import time
from dataclasses import dataclass

from tests.deploy.containers import Engine
from tests.deploy.manifests import Manifest, only, pod_specs, render


def confined(objects: list[Manifest], kind: str, name: str = "") -> Manifest:
    """Return what a manifest starts, as a pod that podman can start.

    Images are those built here. Podman asks probes through systemd, knows no preStop, and publishes
    no ports where the network is the host's.
    """
    found = only(objects, kind, name)
    ((_, spec),) = pod_specs([found])
    for container in spec["containers"]:
        container["image"] = f"localhost/{container['image'].rpartition('/')[2]}"
        for key in ("startupProbe", "livenessProbe", "readinessProbe", "lifecycle", "ports"):
            container.pop(key, None)
        # What may be absent is absent here.
        container["envFrom"] = [
            e
            for e in container.get("envFrom", ())
            if "configMapRef" in e and not e["configMapRef"].get("optional")
        ]
    for key in ("serviceAccountName", "topologySpreadConstraints"):
        spec.pop(key, None)
    # Else podman starts what ends again, at times before anybody has seen that it ended.
    spec["restartPolicy"] = "Never"
    metadata = {"name": found["metadata"]["name"], "labels": found["metadata"]["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@dataclass(slots=True)
class Running:
    """A service in a pod.

    Parameters
    ----------
    engine : Engine
    container, host, port : str, str, int
    settings : dict
    """

    engine: Engine
    container: str
    host: str
    port: int
    settings: dict[str, str]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.host}:{self.port}"

    def get(self, path: str, caller: str = "10.0.0.1") -> tuple[int, bytes]:
        """Ask on a connection of its own, as a caller behind the proxy."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        try:
            connection.request("GET", path, headers={"X-Forwarded-For": caller})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def await_ready(self) -> None:
        """Wait until it is ready."""
        for _ in range(300):
            try:
                if self.get("/health/ready")[0] == 200:
                    return
            except OSError:
                assert self.engine.inspect(self.container)["State"]["Running"], self.log()
            time.sleep(0.2)
        raise TimeoutError(self.log())

    def log(self) -> str:
        """Return what it wrote."""
        return self.engine.run("logs", self.container)


def work(
    engine: Engine, folder: str, told: dict[str, str], index: int = 0, more: list[str] | None = None
) -> tuple[int, str]:
    """Run one pod of a Job to its end; return the exit code and what it wrote."""
    objects = render(folder)
    pod, config = confined(objects, "Job"), only(objects, "ConfigMap")
    config["data"].update(told)
    config["metadata"].pop("namespace", None)
    container = pod["spec"]["containers"][0]
    # The cluster's own part: it says which index a pod has, and puts variables into arguments.
    values = {**config["data"], "JOB_COMPLETION_INDEX": str(index)}
    container["args"] = [
        re.sub(r"\$\((\w+)\)", lambda m: values[m[1]], word) for word in container["args"]
    ] + (more or [])
    path = engine.play([config, pod])
    name = f"{pod['metadata']['name']}-{container['name']}"
    code = engine.wait(name)
    log = engine.run("logs", name)
    engine.run("pod", "rm", "--force", pod["metadata"]["name"])
    path.unlink()
    return code, log
