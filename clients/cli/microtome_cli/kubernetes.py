"""What Kubernetes is told of an ingest: an indexed Job, or a DaskJob for Dask's operator."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from microtome_core import __version__
from microtome_core.names import LayerId

Manifest = dict[str, Any]

# Of the image: neither root nor a user of the machine.
USER = 10001
# Exit codes that another try does not mend: bad input, and storage that refuses.
HOPELESS = (2, 77)
# Tries of one part beside the first; what a drained node ends is not counted.
TRIES = 5
# Seconds in which a part that is told to end writes down what it has done.
_GRACE = 60
# Seconds for which Kubernetes keeps what has ended, and its log.
_KEPT = 7 * 24 * 3600
_MIB = 2**20
# A Job's pods have its name, a hyphen and their number in their host's name, of 63 characters.
LONGEST = 52
_SCHEDULER_MEMORY = 2**30
# Bytes of a pod's log, beside its temporary files.
_LOG = 256 * _MIB
_METADATA = "/etc/microtome"
_COMM, _HTTP = 8786, 8787


@dataclass(frozen=True, slots=True)
class Order:
    """An ingest as a cluster is to do it.

    Parameters
    ----------
    layer : LayerId
    words : tuple of str
        The command, ``ingest`` first, without what says who does the work.
    parallelism : int
        Pods at once, or Dask workers.
    parts : int
        Of the indexed Job.
    image : str
    memory : int
        Bytes that each process may take, ``--memory``.
    cpus : int
        Of each pod.
    scratch : int
        Bytes of temporary files that each pod may have: what is decoded once, such as a .nii.gz.
    name, namespace : str
        Empty: made of the layer; where ``kubectl`` is.
    environment : mapping of str to str
    secrets, configs : tuple of str
        Secrets and ConfigMaps of which every key becomes a variable.
    service_account : str
    claims : mapping of str to str
        The PersistentVolumeClaim that is seen at each path.
    metadata : str
        Text of ``--metadata``, which `words` name as `metadata_path`.
    """

    layer: LayerId
    words: tuple[str, ...]
    parallelism: int
    parts: int
    image: str
    memory: int
    cpus: int
    scratch: int
    name: str = ""
    namespace: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    configs: tuple[str, ...] = ()
    service_account: str = ""
    claims: Mapping[str, str] = field(default_factory=dict)
    metadata: str = ""

    @property
    def title(self) -> str:
        """The name of what is made of it."""
        return self.name or job_name(self.layer)


def job_name(layer: LayerId) -> str:
    """Return a name that Kubernetes accepts, another one for each layer.

    >>> job_name(LayerId("mylab", "mouse7", "brain"))
    'ingest-mylab-mouse7-brain'
    """
    plain = f"ingest-{layer}".replace("/", "-")
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    # Other layers would have the same name: hyphens stand for slashes, too.
    if name == plain and len(name) <= LONGEST and plain.count("-") == 3:
        return name
    digest = sha256(str(layer).encode()).hexdigest()[:8]
    return f"{name[: LONGEST - 9].rstrip('-')}-{digest}"


def metadata_path(name: str) -> str:
    """Return where a pod finds the file of ``--metadata``; its ending tells YAML from JSON."""
    return f"{_METADATA}/metadata{'.json' if name.lower().endswith('.json') else '.yaml'}"


def memory_limit(memory: int) -> int:
    """Return the bytes after which a pod may be killed, by what its process says it takes.

    ``--memory`` × 5/4 + 256 MiB, in whole steps of 64 MiB: a quarter for what the libraries and the
    heap do not give back in time, and the temporary files that lie in memory.

    >>> memory_limit(3 * 2**30) == 4 * 2**30
    True
    """
    return -(-(memory * 5 // 4 + 256 * _MIB) // (64 * _MIB)) * 64 * _MIB


def indexed_job(order: Order) -> list[Manifest]:
    """Return an indexed Job, and what it needs: each pod a part, the last joins them."""
    who = ("--array-index", f"$(JOB_COMPLETION_INDEX)/{order.parts}", "--commit")
    index = {
        "name": "JOB_COMPLETION_INDEX",
        "valueFrom": {
            "fieldRef": {
                "fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"
            }
        },
    }
    threads = ("--threads", str(order.cpus + 1))
    container = _container(order, "ingest", (*order.words, *threads, *who), [index])
    spec = {
        "completionMode": "Indexed",
        "completions": order.parts,
        "parallelism": min(order.parallelism, order.parts),
        "backoffLimitPerIndex": TRIES,
        "podFailurePolicy": _failures(),
        "ttlSecondsAfterFinished": _KEPT,
        "template": {
            "metadata": {"labels": _labels(order), "annotations": _annotations(order)},
            "spec": _pod(order, container),
        },
    }
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": _metadata(order), "spec": spec}
    return [*_config(order), job]


def dask_job(order: Order) -> list[Manifest]:
    """Return a DaskJob: a cluster of workers, and a pod that leads them and ends with them."""
    # The operator tells both where the scheduler is, after what is said here.
    who = ("--scheduler", "$(DASK_SCHEDULER_ADDRESS)", "--threads", str(order.cpus + 1))
    leader = _container(order, "job", (*order.words, *who), [], _SCHEDULER_MEMORY, 1)
    cluster = {"worker": _workers(order), "scheduler": _scheduler(order)}
    job = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": _metadata(order),
        "spec": {"job": {"spec": _pod(order, leader)}, "cluster": {"spec": cluster}},
    }
    return [*_config(order), job]


def _workers(order: Order) -> Manifest:
    words = ("worker", "--name", "$(DASK_WORKER_NAME)", "--nthreads", "1", "--memory-limit", "0")
    more = ("--no-dashboard", "--local-directory", "/tmp")  # noqa: S108 - the pod's own
    worker = _container(order, "worker", (*words, *more), [], program="dask")
    return {"replicas": order.parallelism, "spec": _pod(order, worker, restarts="Always")}


def _scheduler(order: Order) -> Manifest:
    words = ("scheduler", "--port", str(_COMM), "--dashboard-address", f":{_HTTP}")
    container = _container(order, "scheduler", words, [], _SCHEDULER_MEMORY, 1, "dask")
    ports = {"tcp-comm": _COMM, "http-dashboard": _HTTP}
    container["ports"] = [
        {"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()
    ]
    asked = {"httpGet": {"path": "/health", "port": "http-dashboard"}}
    container["readinessProbe"] = {**asked, "periodSeconds": 10}
    container["livenessProbe"] = {**asked, "initialDelaySeconds": 15, "periodSeconds": 20}
    service = {
        "type": "ClusterIP",
        "selector": {"dask.org/cluster-name": order.title, "dask.org/component": "scheduler"},
        "ports": [
            {"name": name, "protocol": "TCP", "port": port, "targetPort": name}
            for name, port in ports.items()
        ],
    }
    return {"spec": _pod(order, container, restarts="Always"), "service": service}


def _failures() -> Manifest:
    """Return what is made of a pod's end: see the exit codes of the command line."""
    return {
        "rules": [
            {
                "action": "Ignore",
                "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
            },
            {
                "action": "FailJob",
                "onExitCodes": {
                    "containerName": "ingest",
                    "operator": "In",
                    "values": list(HOPELESS),
                },
            },
        ]
    }


def _pod(order: Order, container: Manifest, restarts: str = "Never") -> Manifest:
    size = f"{order.scratch // _MIB}Mi"
    volumes: list[Manifest] = [{"name": "tmp", "emptyDir": {"sizeLimit": size}}]
    volumes += [
        {"name": name, "persistentVolumeClaim": {"claimName": claim}}
        for claim, name in _claims(order).items()
    ]
    if order.metadata:
        volumes.append({"name": "metadata", "configMap": {"name": order.title}})
    account = {"serviceAccountName": order.service_account} if order.service_account else {}
    return {
        "restartPolicy": restarts,
        **account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            # Volumes of many files would be walked through at each start.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }


def _container(
    order: Order,
    name: str,
    words: tuple[str, ...],
    variables: list[Manifest],
    memory: int | None = None,
    cpus: int | None = None,
    program: str = "microtome",
) -> Manifest:
    mounts = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - the pod's own
    names = _claims(order)
    mounts += [{"name": names[claim], "mountPath": path} for path, claim in order.claims.items()]
    if order.metadata:
        mounts.append({"name": "metadata", "mountPath": _METADATA})
    given = [{"name": key, "value": value} for key, value in order.environment.items()]
    sources = [{"configMapRef": {"name": name}} for name in order.configs]
    sources += [{"secretRef": {"name": name}} for name in order.secrets]
    return {
        "name": name,
        "image": order.image,
        "command": [program],
        "args": list(words),
        "env": [*variables, *given],
        **({"envFrom": sources} if sources else {}),
        "resources": _resources(
            memory or memory_limit(order.memory), cpus or order.cpus, order.scratch
        ),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def _resources(memory: int, cpus: int, scratch: int) -> Manifest:
    """Return what a container is given; memory and temporary files in bytes."""
    # Memory is asked for as it is limited: nobody else's pod can take it away.
    limit = f"{memory // _MIB}Mi"
    least, most = f"{_LOG // _MIB}Mi", f"{(scratch + _LOG) // _MIB}Mi"
    return {
        "requests": {"cpu": str(cpus), "memory": limit, "ephemeral-storage": least},
        "limits": {"memory": limit, "ephemeral-storage": most},
    }


def _claims(order: Order) -> dict[str, str]:
    """Return the volume of each claim, of which there is one wherever the claim is seen."""
    # A claim's name may be longer than a volume's, and may be that of another volume.
    return {claim: f"claim-{i}" for i, claim in enumerate(dict.fromkeys(order.claims.values()))}


def _config(order: Order) -> list[Manifest]:
    if not order.metadata:
        return []
    name = next(word for word in order.words if word.startswith(f"{_METADATA}/"))
    data = {name.rpartition("/")[2]: order.metadata}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(order), "data": data},
    ]


def _metadata(order: Order) -> Manifest:
    where = {"namespace": order.namespace} if order.namespace else {}
    return {
        "name": order.title,
        **where,
        "labels": _labels(order),
        "annotations": _annotations(order),
    }


def _labels(order: Order) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "microtome",
        "app.kubernetes.io/component": "ingest",
        "app.kubernetes.io/instance": order.title,
        "app.kubernetes.io/version": __version__,
        "app.kubernetes.io/part-of": "microtome",
        "app.kubernetes.io/managed-by": "microtome-submit",
    }


def _annotations(order: Order) -> dict[str, str]:
    return {"microtome/layer": str(order.layer)}
