"""cluster/kubernetes: what KubeRay's own schemas, and the limits that its operator checks besides, say of the files.

No cluster was at hand: nothing of these files has been applied here.
"""

import copy
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.cluster.kuberay import errors_of

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster" / "kubernetes"
JOB = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
CLUSTER = yaml.safe_load((FOLDER / "raycluster.yaml").read_text())
POLICY = yaml.safe_load((FOLDER / "network-policy.yaml").read_text())
SPECS = [JOB["spec"]["rayClusterSpec"], CLUSTER["spec"]]


def pods(spec):
    """The templates of a cluster's pods, the head's first."""
    return [spec["headGroupSpec"]["template"], *(group["template"] for group in spec["workerGroupSpecs"])]


@pytest.mark.parametrize("resource", [JOB, CLUSTER], ids=["rayjob", "raycluster"])
def test_the_schemas_take_the_files_and_nothing_misspelled(resource):
    assert errors_of(resource) == []
    wrong = copy.deepcopy(resource)
    spec = wrong["spec"].get("rayClusterSpec", wrong["spec"])
    spec["enableInTreeAutoscalin"] = spec.pop("enableInTreeAutoscaling")
    pods(spec)[1]["spec"]["terminationGracePeriodSeconds"] = "30"
    texts = errors_of(wrong)
    assert len(texts) == 2
    assert "enableInTreeAutoscalin'" in texts[0] + texts[1]
    assert "'30' is not of type 'integer'" in texts[0] + texts[1]


def test_both_start_the_same_cluster():
    """They differ in what stops a sweep in good order, and in who may reach the dashboard."""
    of_job, cluster = copy.deepcopy(SPECS)
    (container,) = of_job["headGroupSpec"]["template"]["spec"]["containers"]
    assert set(container.pop("lifecycle")) == {"preStop"}
    assert cluster["headGroupSpec"]["rayStartParams"].pop("dashboard-host") == "127.0.0.1"
    assert of_job == cluster


@pytest.mark.parametrize("spec", SPECS, ids=["rayjob", "raycluster"])
def test_a_cluster_asks_for_a_token_and_grows_from_none(spec):
    assert spec["authOptions"] == {"mode": "token", "secretName": "moda-ray-token"}
    assert spec["enableInTreeAutoscaling"]
    (workers,) = spec["workerGroupSpecs"]
    assert workers["replicas"] == workers["minReplicas"] == 0 < workers["maxReplicas"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    terms = workers["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    keys = {term["matchExpressions"][0]["key"] for term in terms["nodeSelectorTerms"]}
    for toleration in workers["template"]["spec"]["tolerations"]:
        assert toleration["key"] in keys | {"nvidia.com/gpu"}


@pytest.mark.parametrize("spec", SPECS, ids=["rayjob", "raycluster"])
def test_secrets_come_from_secrets(spec):
    for pod in pods(spec):
        (container,) = pod["spec"]["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "moda-credentials", "optional": True}}]
        assert [variable["name"] for variable in container["env"]] == ["MODA_STORAGE"]
        assert pod["metadata"]["labels"].items() >= POLICY["spec"]["podSelector"]["matchLabels"].items()
        assert "restartPolicy" not in pod["spec"]  # of which the second autoscaler and sidecars allow only Never


def test_the_versions_are_those_of_the_image():
    (ray,) = re.findall(r"^ray==(\S+)", (ROOT / "constraints.txt").read_text(), re.M)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for spec in SPECS:
        assert spec["rayVersion"] == ray
        for pod in pods(spec):
            assert pod["spec"]["containers"][0]["image"] == f"REGISTRY/moda:{project['version']}"


def test_a_job_is_tried_again_and_cleaned_up():
    spec = JOB["spec"]
    assert spec["shutdownAfterJobFinishes"]
    assert spec["ttlSecondsAfterFinished"] > 0 < spec["backoffLimit"]
    assert spec["submissionMode"] == "SidecarMode"
    assert pods(spec["rayClusterSpec"])[0]["spec"]["terminationGracePeriodSeconds"] >= 120
    assert "sweep.name=" in spec["entrypoint"]  # so that a retry finds what there is


def test_who_may_talk_to_the_pods():
    assert POLICY["spec"]["policyTypes"] == ["Ingress"]
    among, operator = POLICY["spec"]["ingress"]
    assert among["from"] == [{"podSelector": POLICY["spec"]["podSelector"]}]
    assert operator["ports"] == [{"protocol": "TCP", "port": 8265}]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a namespace of processes needs root")
def test_the_job_is_stopped_in_good_order_and_its_retry_ends_it(tmp_path):
    """The entrypoint and the head's hook, exactly as the file has them."""
    namespace = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    done = subprocess.run(
        [*namespace, sys.executable, "-m", "tests.cluster.pod", tmp_path], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (status, code, logs), (again, code_again, logs_again) = map(json.loads, done.stdout.splitlines()[-2:])
    assert (status, code) == ("FAILED", 143), logs  # so that KubeRay tries it again
    assert "terminated; run the same command again to resume" in logs
    assert (again, code_again) == ("SUCCEEDED", 0), logs_again
    assert "12 of 12 trials finished" in logs_again
    assert {trial.status for trial in read_sweep(DeltaStore(str(tmp_path)), "digits").trials} == {"finished"}
