"""What the sections of the configuration are checked by: errors that name the key, the value and the remedy."""

from collections.abc import Sequence

from orchestrator.errors import ConfigError

EXACT = 2**53  # up to it a table holds a whole number beside numbers with a point
MOST = 10**9  # trials, epochs, images of a batch
SEEDS = 2**63  # how many seeds there are: PyTorch takes these and as many again


def check(key: str, value: object, right: bool, remedy: str) -> None:
    if not right:
        raise ConfigError(f"{key}={value}: must be {remedy}")


def check_seed(key: str, seed: int, largest: int = SEEDS - 1) -> None:
    check(key, seed, 0 <= seed <= largest, f"a whole number from 0 to {largest}")


def one_of(key: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f"{key}={value!r} is not known; known: {', '.join(known)}")


def check_grid(key: str, values: tuple[float, ...]) -> None:
    check(key, list(values), 0 < len(values) == len(set(values)), "one or more different numbers")
