"""What is said of a key of the configuration: a field of a section is declared as ``Annotated[type, Key(...)]``.

``moda config``, the shell's completion and docs/configuration.md are made from these declarations.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Key:
    """What a key means, and what it may be.

    Attributes:
        meaning: a phrase that says what it decides.
        values: the range of a number, in words of which a test reads ``at least``, ``above``, ``at most`` and
            ``below``; or what else is to be said of the values.
        unit: what a number counts or measures.
        choices: all values, where there are a few.
        is_shown: whether people set it; not what older sweeps recorded, or what a command sets.
    """

    meaning: str
    values: str = ""
    unit: str = ""
    choices: Sequence[str] = ()
    is_shown: bool = True

    @property
    def notes(self) -> str:
        """Unit and values in one phrase: ``epochs; at least 1``; empty where there is nothing to say."""
        return "; ".join(filter(None, [self.unit, self.values, ", ".join(self.choices)]))
