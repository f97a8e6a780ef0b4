"""The command line: ``moda <command> [overrides]``."""

import argparse
import logging
import re
import sys
from collections.abc import Sequence

from orchestrator.cli.asked import Asked
from orchestrator.cli.command_table import COMMANDS, DESCRIPTION, DETAILS, GROUPS
from orchestrator.cli.completion import complete_words
from orchestrator.cli.endings import UNREAD, end, end_interrupted, is_unread, terminable
from orchestrator.cli.opened import is_view
from orchestrator.cli.output import Output
from orchestrator.cli.parser import make_parser
from orchestrator.cli.settings_commands import print_config
from orchestrator.cli.without_pandas import keep_pandas_out
from orchestrator.config import config_dir_word, is_cut_short, is_override

DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"  # which text editors type for -
PASTED_OPTION = re.compile(rf"-?[{DASHES}]+[a-z][a-z-]*(=|$)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command of the command line.

    Returns:
        The exit code. 0: the command succeeded; 1: no trial of a sweep finished, a run failed, W&B failed, or a rerun
        gave different rows; 2: a mistake of the user; 70: a bug of this package; 71: memory or a disk is full; 130:
        interrupted; 143: terminated; 141: the output was closed, as by ``| head``. One line on stderr says why, but for
        141.
    """
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger("orchestrator.search").setLevel(logging.INFO)  # it logs a reference point that it derives
    if arguments is None:
        complete_words(_parser())
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    if arguments is None and COMMANDS[options.command].only_looks:
        keep_pandas_out()
    try:
        with terminable():
            code = _run(options)
            sys.stdout.flush()  # here, so that a closed output is handled below
            return code
    except KeyboardInterrupt as interrupt:
        return end_interrupted(interrupt)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and is_unread():
            return UNREAD
        return end(error, options.command)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command and its overrides, which may stand anywhere among its arguments.

    Args:
        arguments: the words after ``moda``.

    Raises:
        SystemExit: a word that is neither; ``argparse`` has printed why.
    """
    parser = _parser()
    if not arguments:
        parser.print_help(sys.stderr)
        parser.exit(2)
    if pasted := [word for word in arguments if PASTED_OPTION.match(word)]:
        typed = pasted[0].lstrip(f"-{DASHES}")
        parser.error(f"{pasted[0]!r} begins with a typographic dash; type --{typed}")
    if split := _split_override(arguments):
        parser.error(f"{split[0]} is cut short: put quotes around the whole override: '{' '.join(split)}'")
    options, others = parser.parse_known_args(_overrides_last(arguments))
    if wrong := [word for word in others if word.startswith("-") or "=" not in word]:
        parser.error(f"unknown argument {wrong[0]!r}; overrides are key=value, see moda {options.command} --help")
    options.overrides += others  # overrides that followed an option
    for argument in filter(lambda each: each.takes_several, COMMANDS[options.command].arguments):
        words = getattr(options, argument.key) or []
        names_keys = argument.key == "keys"  # which hold no =, as classes and points may
        texts = [word for word in words if isinstance(word, str)]
        if overrides := [word for word in texts if is_override(word) or (names_keys and "=" in word)]:
            options.overrides += overrides
            setattr(options, argument.key, [word for word in words if word not in overrides])
    return options


def _run(options: argparse.Namespace) -> int:
    overrides = [word for word in options.overrides if not is_view(word, options.command)]
    if options.command == "confirm":  # its other overrides are for the recorded configuration
        overrides = [word for word in overrides if word.startswith(("storage=", "tracking"))]
    if options.command == "reproduce":
        overrides = [f"experiment={options.recipe}", *overrides]
    if getattr(options, "config_dir", None) is not None:
        overrides = [config_dir_word(options.config_dir), *overrides]
    asked, command, output = Asked(tuple(overrides)), COMMANDS[options.command], Output.of(options)
    if command.checks_first:
        asked.check()
    if getattr(options, "cfg", False):
        print_config(asked, output)
        return 0
    command.check_overrides(options.overrides)
    return command.run(asked, options, output) or 0


def _parser() -> argparse.ArgumentParser:
    return make_parser(GROUPS, DESCRIPTION, DETAILS)


def _split_override(arguments: Sequence[str]) -> list[str]:
    """The words that a shell has made of one override with spaces: ``x={a:`` and ``1}``; none if there are none."""
    for place, word in enumerate(arguments):
        if is_override(word) and is_cut_short(word):
            for end in range(place + 2, len(arguments) + 1):
                if not is_cut_short(" ".join(arguments[place:end])):
                    return list(arguments[place:end])
    return []


def _overrides_last(arguments: Sequence[str]) -> list[str]:
    """The arguments with overrides moved behind the others, so that an early one is not taken for the sweep or the SQL.

    The word after an option is its value and stays there.
    """
    is_value = [False, *(word.startswith("-") for word in arguments)]
    words = zip(arguments, is_value, strict=False)
    return [word for word, _ in sorted(words, key=lambda pair: is_override(pair[0]) and not pair[1])]
