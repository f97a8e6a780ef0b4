"""cluster/aws.yaml: what Ray's own code for AWS makes of it, on moto's AWS. No machine was started on AWS."""

import subprocess
from pathlib import Path

import boto3
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.tags import NODE_KIND_HEAD, NODE_KIND_WORKER, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

TEXT = (Path(__file__).parents[2] / "cluster" / "aws.yaml").read_text()
CONFIG = yaml.safe_load(TEXT)
COMMANDS = [command for key, commands in CONFIG.items() if key.endswith("_commands") for command in commands]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one_of_a_shell(command):
    subprocess.run(["bash", "-n", "-c", command], check=True)


def test_ray_asks_for_a_token_and_answers_itself_alone():
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert all(command.startswith(". ~/moda/cluster/environment.sh && ray ") for command in CONFIG[key])
    assert "--dashboard-host=127.0.0.1" in CONFIG["head_start_ray_commands"][-1]
    assert CONFIG["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


@pytest.mark.slow
@mock_aws(config={"iam": {"load_aws_managed_policies": True}})
def test_ray_starts_a_head_and_spot_workers_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # a key pair is written there
    (tmp_path / ".ssh").mkdir()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    region = CONFIG["provider"]["region"]
    cloud = boto3.client("ec2", region_name=region)
    boto3.client("iam").create_instance_profile(InstanceProfileName="bucket-only")
    image = cloud.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]

    config = prepare_config(
        yaml.safe_load(TEXT.replace("ImageId: AMI", f"ImageId: {image}").replace("PROFILE", "bucket-only"))
    )
    validate_config(config)
    config = bootstrap_aws(config)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for kind, node_type in ((NODE_KIND_HEAD, "head"), (NODE_KIND_WORKER, "spot")):
        tags = {TAG_RAY_NODE_KIND: kind, TAG_RAY_USER_NODE_TYPE: node_type}
        provider.create_node(config["available_node_types"][node_type]["node_config"], tags, 1)

    reservations = cloud.describe_instances()["Reservations"]
    started = {instance["InstanceType"]: instance for each in reservations for instance in each["Instances"]}
    assert set(started) == {"m6i.xlarge", "g5.xlarge"}
    assert "InstanceLifecycle" not in started["m6i.xlarge"]
    assert started["g5.xlarge"]["InstanceLifecycle"] == "spot"
    assert started["g5.xlarge"]["IamInstanceProfile"]["Arn"].endswith("/bucket-only")
    assert config["available_node_types"]["spot"]["min_workers"] == 0
    groups = cloud.describe_security_groups(GroupIds=[started["m6i.xlarge"]["SecurityGroups"][0]["GroupId"]])
    open_to_all = [rule for rule in groups["SecurityGroups"][0]["IpPermissions"] if rule["IpRanges"]]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in open_to_all] == [(22, 22)]
