"""Object stores: the one place that turns the environment into what the tables' and the files' libraries want.

Of S3 and what speaks like it, ``AWS_ENDPOINT_URL``, ``AWS_ALLOW_HTTP`` and ``AWS_REGION`` are read here; keys, tokens
and profiles are looked up by the libraries themselves.
"""

import os
from collections.abc import Mapping

import pyarrow.fs as pafs

from orchestrator.errors import ConfigError

S3 = "s3://"


def table_options(root: str, environment: Mapping[str, str] = os.environ) -> dict[str, str] | None:
    """What Delta tables under a root are opened with: None for a folder and for other object stores.

    A commit is a conditional put, so of writers at once one wins and the others try again.

    Raises:
        ConfigError: as :func:`file_system`.
    """
    if not root.startswith(S3):
        return None
    endpoint, region = _endpoint(environment), _region(environment)
    return {
        "conditional_put": "etag",
        **({"AWS_REGION": region} if region else {}),
        # deltalake looks beyond the environment for keys only where it is Amazon's S3 or is told to
        **({"AWS_ENDPOINT_URL": endpoint, "AWS_FORCE_CREDENTIAL_LOAD": "true"} if endpoint else {}),
        **({"AWS_ALLOW_HTTP": "true"} if endpoint.startswith("http://") else {}),
    }


def file_system(root: str, environment: Mapping[str, str] = os.environ) -> tuple[pafs.FileSystem, str]:
    """The file system of a folder or a URI, and where the root is in it.

    Raises:
        ConfigError: an unknown scheme, or an endpoint without encryption that was not allowed.
    """
    if "://" not in root:
        return pafs.LocalFileSystem(), root
    try:
        if root.startswith(S3) and (endpoint := _endpoint(environment)):
            system = pafs.S3FileSystem(endpoint_override=endpoint, region=_region(environment) or None)
            return system, root.removeprefix(S3)
        system, base = pafs.FileSystem.from_uri(root)  # which asks S3 where a bucket is
        return system, base
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"storage={root!r} cannot be used: {error}") from error


def _endpoint(environment: Mapping[str, str]) -> str:
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL", "")
    allowed = environment.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
    if endpoint.startswith("http://") and not allowed:
        raise ConfigError(f"AWS_ENDPOINT_URL={endpoint} is not encrypted; use https, or set AWS_ALLOW_HTTP=true")
    return endpoint.rstrip("/")


def _region(environment: Mapping[str, str]) -> str:
    return environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION", "")
