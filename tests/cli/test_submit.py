"""``microtome submit``: manifests that Kubernetes accepts, and whose commands do the work."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from microtome_cli.kubernetes import HOPELESS, job_name, memory_limit
from microtome_cli.main import BAD_INPUT, NO_PERMISSION, main
from microtome_core.names import LayerId
from microtome_core.store.location import Store
from microtome_ingest.claim import Part
from microtome_ingest.parts import note_ended
from tests.later import Later
from tests.trees import tree

kubernetes_validate = Later("kubernetes_validate")

SOURCE = "synthetic://neurons?shape=64,256,256&seed=3"
LAYOUT = ("--chunk", "z=8,y=16,x=16", "--shard", "z=8,y=64,x=64", "--memory", "1GiB")
VERSIONS = ("1.33", "1.35", "1.37")
SMALL = "synthetic://neurons?shape=64,64,64&seed=3"
FAR = ("s3://bucket/root", "--as", "a/b/c")
EPOCH = "SOURCE_DATE_EPOCH=1700000000"


@pytest.fixture
def submit(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that returns what the command prints, as documents."""

    def run(*words: str) -> list[dict[str, Any]]:
        assert main(["submit", *words]) == 0
        return list(yaml.safe_load_all(capsys.readouterr().out))

    return run


def container(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Return the one container of a pod's specification."""
    (only,) = pod["containers"]
    return dict(only)


@contextmanager
def running(only: Mapping[str, Any], told: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Run a container's command as a process of this machine, variables as the kubelet has them."""
    given = {e["name"]: e.get("value", "") for e in only["env"]} | dict(told)

    def expanded(word: str) -> str:
        return re.sub(r"\$\$|\$\((\w+)\)", lambda m: given[m[1]] if m[1] else "$", word)

    program = {"microtome": "microtome_cli", "dask": "dask"}[only["command"][0]]
    words = [sys.executable, "-m", program, *map(expanded, only["args"])]
    process = subprocess.Popen(
        words, env={**os.environ, **given}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def whole(root: Path) -> dict[str, bytes]:
    """Return what one process writes."""
    words = [sys.executable, "-m", "microtome_cli", "ingest", SOURCE, str(root), "--as", "a/b/c"]
    name, _, value = EPOCH.partition("=")
    subprocess.run([*words, *LAYOUT], env={**os.environ, name: value}, check=True)
    return tree(Store(str(root)))


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_the_job(
    submit: Callable[..., list[dict[str, Any]]], tmp_path: Path, version: str
) -> None:
    """With all that can be asked for, by the schemas of three versions, strictly."""
    facts = tmp_path / "facts.yaml"
    facts.write_text("subject: {species: Mus musculus}\n")
    more = (
        "--parallelism",
        "64",
        "--parts",
        "640",
        "--secret",
        "keys",
        "--config-map",
        "storage",
        "--volume",
        "data:/data",
    )
    named = (
        "--namespace",
        "lab",
        "--service-account",
        "ingest",
        "--env",
        "AWS_REGION=eu-central-1",
    )
    told = submit(SOURCE, *FAR, *more, *named, "--metadata", str(facts))
    assert [one["kind"] for one in told] == ["ConfigMap", "Job"]
    for document in told:
        kubernetes_validate.validate(document, version, strict=True)
        assert document["metadata"]["namespace"] == "lab"
    job = told[1]["spec"]
    assert (job["completions"], job["parallelism"]) == (640, 64)
    assert container(job["template"]["spec"])["envFrom"] == [
        {"configMapRef": {"name": "storage"}},
        {"secretRef": {"name": "keys"}},
    ]
    assert told[0]["data"] == {"metadata.yaml": facts.read_text()}


def test_a_part_fails_as_the_exit_codes_say(submit: Callable[..., list[dict[str, Any]]]) -> None:
    """Bad input and storage that refuses end the whole Job at once, a drained node counts for
    nothing, and all else is tried again, each part by itself.
    """
    (job,) = submit(SOURCE, *FAR)
    ignored, hopeless = job["spec"]["podFailurePolicy"]["rules"]
    assert (ignored["action"], ignored["onPodConditions"]) == (
        "Ignore",
        [{"type": "DisruptionTarget", "status": "True"}],
    )
    assert hopeless["action"] == "FailJob"
    assert hopeless["onExitCodes"]["values"] == [BAD_INPUT, NO_PERMISSION] == list(HOPELESS)
    assert job["spec"]["backoffLimitPerIndex"] > 0
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert hopeless["onExitCodes"]["containerName"] == container(pod)["name"]


def test_a_pod_gets_what_its_process_takes(submit: Callable[..., list[dict[str, Any]]]) -> None:
    """Memory by the budget with some to spare, asked for as it is limited; one step in flight more
    than cores, whatever the node has.
    """
    (job,) = submit(SOURCE, *FAR, "--memory", "6GiB", "--cpus", "4")
    only = container(job["spec"]["template"]["spec"])
    limit = f"{memory_limit(6 * 2**30) // 2**20}Mi"
    asked, most = only["resources"]["requests"], only["resources"]["limits"]
    assert (asked["cpu"], asked["memory"], most["memory"]) == ("4", limit, limit)
    assert most["ephemeral-storage"] == "8448Mi"
    assert "cpu" not in most
    words = " ".join(only["args"])
    assert "--memory 6GiB" in words
    assert "--threads 5" in words


@pytest.mark.slow
def test_the_parts_of_a_job_make_what_one_process_makes(
    submit: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    """Its command as four processes at once, each with its JOB_COMPLETION_INDEX: byte for byte,
    with no other command; once more there is nothing to do.
    """
    root = tmp_path / "claim" / "root"
    volume = ("--volume", f"data:{tmp_path}/claim", "--parallelism", "4", "--env", EPOCH)
    (job,) = submit(SOURCE, str(root), "--as", "a/b/c", *LAYOUT, *volume)
    only = container(job["spec"]["template"]["spec"])
    expected = whole(tmp_path / "whole")
    for _ in range(2):
        with ExitStack() as stack:
            parts = [
                stack.enter_context(running(only, {"JOB_COMPLETION_INDEX": str(index)}))
                for index in range(job["spec"]["completions"])
            ]
            told = [part.communicate(timeout=120)[0] for part in parts]
            assert [part.returncode for part in parts] == [0] * 4, "".join(told)
        assert tree(Store(str(root))) == expected
    assert all("nothing to do" in one for one in told)


@pytest.mark.slow
def test_the_pods_of_a_dask_job_make_what_one_process_makes(
    submit: Callable[..., list[dict[str, Any]]], tmp_path: Path, unused_port: Callable[[], int]
) -> None:
    """Its scheduler, its workers and its leader, as processes: each is a pod that Kubernetes
    accepts, and they write the same bytes.
    """
    root = tmp_path / "claim" / "root"
    volume = ("--volume", f"data:{tmp_path}/claim", "--parallelism", "2", "--env", EPOCH)
    (job,) = submit(SOURCE, str(root), "--as", "a/b/c", *LAYOUT, *volume, "--engine", "dask")
    assert (job["apiVersion"], job["kind"]) == ("kubernetes.dask.org/v1", "DaskJob")
    cluster = job["spec"]["cluster"]["spec"]
    pods = [cluster["scheduler"]["spec"], cluster["worker"]["spec"], job["spec"]["job"]["spec"]]
    for pod in pods:
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": pod}
        kubernetes_validate.validate(document, VERSIONS[-1], strict=True)
    scheduler, worker, leader = map(container, pods)
    port = unused_port()
    # In a cluster each pod has its ports to itself.
    ports = {"8786": str(port), ":8787": f":{unused_port()}"}
    scheduler["args"] = [ports.get(word, word) for word in scheduler["args"]]
    address = {"DASK_SCHEDULER_ADDRESS": f"tcp://127.0.0.1:{port}"}
    with ExitStack() as stack:
        stack.enter_context(running(scheduler, {}))
        for index in range(cluster["worker"]["replicas"]):
            name = {"DASK_WORKER_NAME": f"worker-{index}"}
            worker["args"][-1] = str(tmp_path / f"worker-{index}")
            stack.enter_context(running(worker, address | name))
        leads = stack.enter_context(running(leader, address))
        told = leads.communicate(timeout=120)[0]
        assert leads.returncode == 0, told
    assert tree(Store(str(root))) == whole(tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--parallelism", "0"), "--parallelism 0"),
        (("--name", "Not A Name"), "Not A Name"),
        (("--env", "AWS_SECRET_ACCESS_KEY=hush"), "put it into a Secret"),
        (("--env", "novalue"), "--env NAME=VALUE"),
        (("--env", "JOB_COMPLETION_INDEX=3"), "told this by the cluster"),
        (("--volume", "data"), "--volume CLAIM:/PATH"),
        (("--volume", "data:store"), "data:store: expected CLAIM:/PATH"),
        (("--volume", "data:/in:ro"), "data:/in:ro: expected CLAIM:/PATH"),
        (("--volume", "data:/in/../.."), "expected CLAIM:/PATH"),
        (("--volume", "data:/tmp/"), "/tmp is the pod's own"),
        (("--volume", "a:/in", "--volume", "b:/in/"), "both a and b are to be at /in"),
        (("--volume", "My_data:/in"), "--volume 'My_data'"),
        (("--service-account", "Someone Else"), "--service-account 'Someone Else'"),
        (("--secret", "keys."), "--secret 'keys.'"),
        (("--config-map", "x" * 254), "up to 253"),
        (("--namespace", "n" * 64), "up to 63"),
        (("--name", "n" * 53), "up to 52"),
        (("--parallelism", "10001"), "--parallelism 10001: Kubernetes takes up to 10000"),
        (("--parts", "100001"), "--parts 100001: Kubernetes takes up to 100000"),
        (("--memory", "100MiB"), "--memory 105 MB"),
        (("--voxel-size", "1,2"), "voxel size"),
        (("--metadata", "absent.yaml"), "absent.yaml"),
    ],
)
def test_what_every_pod_would_refuse_is_refused_at_once(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    """The message names it, secrets are not repeated, and nothing is printed."""
    assert main(["submit", SOURCE, *FAR, *words]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert "hush" not in captured.err
    assert captured.out == ""


def test_files_of_this_machine_are_refused_unless_pods_see_them(
    tmp_path: Path, submit: Callable[..., list[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Source and root lie at an address, or below the path of a volume; a source there that is not
    seen from here is handed on unchecked, and one that is seen is checked.
    """
    stack = tmp_path / "stack.npy"
    np.save(stack, np.ones((4, 8, 8), "uint8"))
    assert main(["submit", str(stack), *FAR]) == 2
    assert "pods do not see this machine's files" in capsys.readouterr().err
    assert main(["submit", SOURCE, str(tmp_path), "--as", "a/b/c"]) == 2
    assert main(["submit", str(stack), *FAR, "--volume", f"data:{tmp_path}"]) == 2
    assert "--axes" in capsys.readouterr().err
    (job,) = submit("/data/away.tif", *FAR, "--volume", "data:/data")
    assert "/data/away.tif" in container(job["spec"]["template"]["spec"])["args"]


@pytest.mark.parametrize("engine", ["job", "dask"])
def test_a_claim_may_be_seen_at_several_paths(
    submit: Callable[..., list[dict[str, Any]]], engine: str
) -> None:
    """It is one volume of the pod, which Kubernetes takes, also where it has the name of another
    one or one that is too long for a volume; names of Secrets may have dots.
    """
    claims = ("tmp", "lab.data-" + "x" * 200)
    seen = [f"{claims[0]}:/in", f"{claims[1]}:/raw data", f"{claims[0]}:/out/"]
    words = [word for one in seen for word in ("--volume", one)]
    more = ("--secret", "lab.keys", "--engine", engine)
    (job,) = submit("/in/away.tif", "/out/root", "--as", "a/b/c", *words, *more)
    pod = (
        job["spec"]["template"]["spec"]
        if engine == "job"
        else job["spec"]["cluster"]["spec"]["worker"]["spec"]
    )
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": pod}
    kubernetes_validate.validate(document, VERSIONS[-1], strict=True)
    names = [volume["name"] for volume in pod["volumes"]]
    assert len(set(names)) == len(names) == 3
    assert all(len(name) < 64 for name in names)
    lies = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    mounted = {m["mountPath"]: lies.get(m["name"]) for m in container(pod)["volumeMounts"]}
    assert mounted == {"/tmp": None, "/in": "tmp", "/raw data": claims[1], "/out": "tmp"}


def test_a_source_that_only_pods_may_read_is_handed_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who has no keys for a bucket is told that it was not checked."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    source = "s3://bucket/brain.ome.tif"
    assert main(["submit", source, *FAR, "--secret", "s3-keys"]) == 0
    captured = capsys.readouterr()
    assert source in captured.out
    assert "access denied" in captured.err
    assert "not checked" in captured.err


def test_a_dollar_reaches_the_pod(submit: Callable[..., list[dict[str, Any]]]) -> None:
    """Kubernetes takes two for one, and a bracket after one for a variable."""
    source = "/data/$(HOME) a$$b $c.tif"
    (job,) = submit(source, *FAR, "--volume", "data:/data")
    args = container(job["spec"]["template"]["spec"])["args"]
    assert args[1] == "/data/$$(HOME) a$$$$b $$c.tif"
    assert args[-2] == "$(JOB_COMPLETION_INDEX)/16"


def test_a_file_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no bug of the program."""
    assert main(["submit", SOURCE, *FAR, "--out", str(tmp_path / "none/job.yaml")]) != 0
    assert "none/job.yaml: No such file" in capsys.readouterr().err


def test_jobs_of_different_layers_have_different_names() -> None:
    """Names are such as Kubernetes takes, with room for the number of a pod."""
    layers = ("a/b/c", "a-b/c/d", "a/b-c/d", "a_b/c/d", "a.b/c/d", "/".join(["x" * 64] * 3))
    names = [job_name(LayerId.parse(layer)) for layer in layers]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?", name) for name in names)


def test_apply_hands_it_to_kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the namespace; what kubectl ends with is told, and that it is not there, too."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\ncat > {tmp_path}/given\n')
    kubectl.chmod(0o755)
    words = ["submit", SOURCE, *FAR, "--apply", "--namespace", "lab"]
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert main(words) == 0
    assert (tmp_path / "words").read_text() == "apply --namespace lab -f -\n"
    assert yaml.safe_load((tmp_path / "given").read_text())["kind"] == "Job"
    kubectl.write_text("#!/bin/sh\ncat > /dev/null\nexit 3\n")
    assert main(words) == 2
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert main(words) == 2


def part_words(root: Path) -> list[str]:
    """Return the command of a part of a small ingest, but for its number."""
    layout = ["--chunk", "8,16,16", "--shard", "8,16,16"]
    return ["ingest", SMALL, str(root), "--as", "a/b/c", *layout, "--commit", "--array-index"]


def test_a_part_that_ends_before_the_others_joins_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last to end makes the layer, and one that is begun again finds it made."""
    root = tmp_path / "root"
    words = part_words(root)
    assert main([*words, "1/2"]) == 0
    assert "the last of them joins them" in capsys.readouterr().out
    assert not (root / "a/b/c/zarr.json").exists()
    assert main([*words, "0/2"]) == 0
    assert "wrote a/b/c: " in capsys.readouterr().out
    assert not (root / "a/b/c/0/ledger/ended").exists()
    assert main([*words, "1/2"]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_a_part_that_claims_to_have_ended_and_has_not_is_found_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What lies in the store counts: the layer is not made, and the part is named."""
    root = tmp_path / "root"
    words = part_words(root)
    note_ended(Store(str(root)), "a/b/c", Part(1, 2))
    assert main([*words, "0/2"]) == 75
    assert "--array-index 1/2 again" in capsys.readouterr().err


def test_commit_is_of_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a part there is nothing to join."""
    assert main(["ingest", SMALL, str(tmp_path), "--as", "a/b/c", "--commit"]) == 2
    assert "--array-index" in capsys.readouterr().err
