"""Whether W&B's client is logged in. It is asked itself, but not started: it prompts nobody and uses no network."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a run without tracking loads no client
    import wandb

LOG = logging.getLogger("moda")


def quieten() -> None:
    """Keep the W&B client of this process from writing to the terminal, and from sending telemetry, which delays the
    exit if no server answers.

    What the environment says goes first.
    """
    for name, value in {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}.items():
        os.environ.setdefault(name, value)


def client_settings() -> wandb.Settings:
    """Return the settings that the client would start with: its settings files, overridden by the environment.

    Raises:
        ValueError: a setting that the client refuses.
    """
    import wandb

    settings = wandb.Settings(silent=True)
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    settings.settings_system = str(folder / "settings")
    settings.update_from_system_settings()
    settings.update_from_env_vars(dict(os.environ))
    return settings


def has_key() -> bool:
    """Return whether the client would log in without a prompt.

    By a key or an identity token in the environment or its settings, or by a key in the ``.netrc`` that it reads, after
    `wandb login`, for the server that its settings name. A key that it refuses is reported, and is none.
    """
    import wandb.errors

    try:
        return _finds_key(client_settings())
    except (ValueError, wandb.errors.Error) as error:
        LOG.warning("W&B's client cannot log in (%s)", " ".join(str(error).split())[:300])
        return False


def _finds_key(settings: wandb.Settings) -> bool:
    import wandb

    try:
        from wandb.sdk.lib import wbauth  # public functions do the same, and start the client
    except ImportError:
        return wandb.login(verify=False, prompt=False)
    if settings.api_key and (problem := wbauth.check_api_key(settings.api_key)):
        raise wandb.errors.AuthenticationError(problem)
    if settings.api_key or settings.identity_token_file:
        return True
    host = settings.base_url
    return bool(wbauth.session_credentials(host=host) or wbauth.read_netrc_auth(host=host))
