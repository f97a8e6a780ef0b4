"""The commands about what can be set, and about this machine: ``config``, ``doctor`` and ``completion``."""

import argparse
import sys

from orchestrator.cli.asked import Asked
from orchestrator.cli.completion import completion_script
from orchestrator.cli.output import LOG_WIDTH, Output
from orchestrator.config import chosen_files, compose_config, list_keys, meant
from orchestrator.errors import ConfigError


def config(asked: Asked, options: argparse.Namespace, output: Output) -> int:
    print_config(asked, output, options.keys)
    asked.check()
    return 0


def print_config(asked: Asked, output: Output, names: list[str] | None = None) -> None:
    """Print every key, or those of some sections or names.

    Raises:
        ConfigError: a name that is no section and no key.
    """
    from orchestrator.views import config_rows, config_yaml

    files = chosen_files(asked.overrides)
    folders = [word for word in asked.overrides if word.startswith("hydra.")]
    usual = compose_config([*folders, *(f"{group}={name}" for group, name in files.items())])
    keys = list_keys(asked.plain, usual)
    for name in names or ():
        if not any(key.name == name or key.section == name for key in keys):
            known = [*dict.fromkeys(key.section for key in keys), *(key.name for key in keys)]
            raise ConfigError(f"{name} is not a key{meant(name, known)}; moda config lists all keys")
    if names:
        keys = [key for key in keys if key.name in names or key.section in names]
    output.give(config_rows(keys))
    if not output.is_json:
        sys.stdout.write(config_yaml(keys, {} if names else files, width=output.width or LOG_WIDTH))


def completion(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    sys.stdout.write(completion_script(options.shell))


def doctor(asked: Asked, options: argparse.Namespace, output: Output) -> int:
    from orchestrator.runs import examine
    from orchestrator.views import findings_table

    findings = examine(asked.config)
    output.show(findings_table(findings))
    output.give([finding.row for finding in findings])
    return 1 if any(finding.is_wrong for finding in findings) else 0
