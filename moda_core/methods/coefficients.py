"""The check of a method's coefficients. This file loads no torch."""

import math


def check_coefficient(name: str, value: float, *, above_zero: bool = False) -> None:
    """Refuse a coefficient that is not a finite number of at least 0.

    Args:
        name: of the coefficient.
        value: its value.
        above_zero: whether 0 is refused too.

    Raises:
        ValueError: the coefficient and its value.
    """
    if not (math.isfinite(value) and (value > 0 if above_zero else value >= 0)):
        raise ValueError(f"method.{name}={value} must be a finite number {'above' if above_zero else 'of at least'} 0")
