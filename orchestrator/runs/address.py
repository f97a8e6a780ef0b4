"""The cluster that ``RAY_ADDRESS`` names, asked whether it answers before anything waits for it.

Ray itself waits for a quarter of an hour for a cluster that is not there, and never looks for a token where it is given
an address.
"""

import os
import re
from pathlib import Path

import grpc
from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import Config as RayConfig  # type: ignore[attr-defined]

from orchestrator.errors import ConfigError, ServiceError, reason_of, shown

ADDRESS, MODE, TOKEN, TOKEN_PATH = "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
DEFAULT_TOKEN_PATH = "~/.ray/auth_token"
HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):(\d{1,5})")
ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"  # Ray's own question; an empty request is a valid one
ANSWER_SECONDS = 7.0


def cluster_address() -> str | None:
    """Return ``HOST:PORT`` of the cluster that ``RAY_ADDRESS`` names, which answers; None for a local Ray.

    Where the cluster asks for a token and ``RAY_AUTH_MODE`` is not set, the token that there is is used from then on.

    Raises:
        ConfigError: an address that cannot be one.
        ServiceError: a cluster that does not answer, or that asks for another token.
    """
    stated = os.environ.get(ADDRESS, "")
    if stated in ("", "local"):
        return None
    address = _of_this_machine() if stated == "auto" else stated
    if "://" in address:
        raise ConfigError(
            f"{ADDRESS}={shown(stated)} is not the address of a cluster's head; give its HOST:6379 on a node of the"
            " cluster, or submit the command from elsewhere: ray job submit -- python -m orchestrator ..."
        )
    match = HOST_AND_PORT.fullmatch(address)
    if match is None or not 0 < int(match[2]) < 65536:
        raise ConfigError(
            f"{ADDRESS}={shown(stated)} is not an address; write HOST:PORT (6379 unless the head was started with"
            " another --port), auto, or local for a Ray of its own"
        )
    _check_answers(address)
    return address


def _of_this_machine() -> str:
    try:
        return str(canonicalize_bootstrap_address("auto"))
    except ConnectionError as error:
        raise ServiceError(
            f"{ADDRESS}=auto: no Ray runs on this machine; start one (ray start --head), give HOST:PORT, or unset"
            f" {ADDRESS}"
        ) from error


def _check_answers(address: str) -> None:
    """Ask the head whether it is one, as Ray would, and find out which token it takes."""
    mode = os.environ.get(MODE, "").lower()
    token = _token() if mode == "token" else None
    code = _answer(address, token)
    if code == grpc.StatusCode.UNAUTHENTICATED and not mode and (token := _token()) is not None:
        code = _answer(address, token)
        if code != grpc.StatusCode.UNAUTHENTICATED:
            os.environ[MODE] = "token"
            RayConfig.initialize("")  # which has read the environment already
    if code != grpc.StatusCode.UNAUTHENTICATED:
        return
    asks = f"{ADDRESS}={address}: the cluster asks for a token"
    if mode not in ("", "token"):
        raise ServiceError(f"{asks}, and {MODE}={shown(mode)} sends none; unset {MODE}")
    has = f"{_token_place()} holds another one" if token else f"there is none in {_token_place()}"
    raise ServiceError(
        f"{asks}, and {has}; copy the token file of its head, {DEFAULT_TOKEN_PATH} there, and name it in {TOKEN_PATH}"
    )


def _answer(address: str, token: str | None) -> grpc.StatusCode:
    """What a head says: OK, or that it asks for another token.

    Raises:
        ServiceError: nobody answers there, or something else than Ray does.
    """
    if os.environ.get("RAY_USE_TLS", "") == "1":  # Ray has the certificates, and says itself what is wrong with them
        return grpc.StatusCode.OK
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(ALIVE)(b"", timeout=ANSWER_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return error.code()
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                said = "Connection refused" if "refused" in error.details() else reason_of(Exception(error.details()))
                raise ServiceError(
                    f"{ADDRESS}={address}: no Ray cluster answers there ({said}); start its head, give the address that"
                    f" ray start printed, or unset {ADDRESS} for a Ray of its own"
                ) from error
    return grpc.StatusCode.OK


def _token() -> str | None:
    """The token that Ray would use: of the environment, or of a file."""
    if stated := os.environ.get(TOKEN):
        return stated
    try:
        return Path(os.environ.get(TOKEN_PATH) or DEFAULT_TOKEN_PATH).expanduser().read_text().strip() or None
    except (OSError, RuntimeError):  # no such file, or no home folder
        return None


def _token_place() -> str:
    return TOKEN if os.environ.get(TOKEN) else os.environ.get(TOKEN_PATH) or DEFAULT_TOKEN_PATH
