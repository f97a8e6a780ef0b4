"""Completion in bash, zsh and fish, by argcomplete."""

import argparse
import os

SHELLS = ("bash", "zsh", "fish")


def complete_words(parser: argparse.ArgumentParser) -> None:
    """Where a shell asks for completions of what is typed, print them and end the process."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser, always_complete_options=False)


def completion_script(shell: str) -> str:
    """Return what a shell has to read so that it completes ``moda``."""
    from argcomplete.shell_integration import shellcode

    return shellcode(["moda"], shell=shell)
