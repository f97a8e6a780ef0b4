"""What the environment says about object stores, for both libraries."""

import pytest

from orchestrator.errors import ConfigError
from orchestrator.storage.object_store import file_system, table_options

HERE = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000/", "AWS_ALLOW_HTTP": "true", "AWS_DEFAULT_REGION": "eu-west-1"}


def test_folders_and_other_stores_get_no_options():
    assert table_options("/data/moda", HERE) is None
    assert table_options("gs://bucket/moda", HERE) is None


def test_both_get_the_same_endpoint_and_region():
    assert table_options("s3://bucket/moda", HERE) == {
        "conditional_put": "etag",
        "AWS_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
        "AWS_FORCE_CREDENTIAL_LOAD": "true",
        "AWS_ALLOW_HTTP": "true",
    }
    system, base = file_system("s3://bucket/moda", HERE)
    assert (system.type_name, system.region, base) == ("s3", "eu-west-1", "bucket/moda")


def test_a_name_for_s3_alone_comes_first():
    options = table_options("s3://bucket", {**HERE, "AWS_ENDPOINT_URL_S3": "https://s3.example.com"})
    assert options is not None
    assert options["AWS_ENDPOINT_URL"] == "https://s3.example.com"
    assert "AWS_ALLOW_HTTP" not in options


def test_without_an_endpoint_it_is_amazons():
    assert table_options("s3://bucket", {}) == {"conditional_put": "etag"}


@pytest.mark.parametrize("make", [table_options, file_system])
@pytest.mark.parametrize("allowed", ["", "false"])
def test_an_endpoint_without_encryption_must_be_allowed(make, allowed):
    with pytest.raises(ConfigError, match="is not encrypted; use https, or set AWS_ALLOW_HTTP=true"):
        make("s3://bucket", {**HERE, "AWS_ALLOW_HTTP": allowed})
