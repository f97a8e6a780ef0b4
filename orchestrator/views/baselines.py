"""What baselines and methods are called and how they are told apart, in every figure."""

import itertools
from collections.abc import Mapping
from typing import Any

from orchestrator.config import Config, method_and_key
from orchestrator.results import Sweep
from orchestrator.views.terminal import coefficients_text

METHOD_COLOURS = ("#e69f00", "#cc79a7", "#56b4e9", "#009e73", "#8c564b", "#999999")  # of a sweep of several
METHOD_HUES = (2, 4, 6, 3, 1, 5)  # the same in the report, whose style has each for light and for dark pages


def method_colours(sweep: Sweep) -> dict[str, str]:
    """The colour of each method; none in a sweep of one."""
    return dict(zip(sweep.config.search.methods, itertools.cycle(METHOD_COLOURS), strict=False))


def method_hues(sweep: Sweep) -> dict[str, str]:
    """The colour of each method in the report; none in a sweep of one."""
    hues = (f"var(--hue-{place})" for place in itertools.cycle(METHOD_HUES))
    return dict(zip(sweep.config.search.methods, hues, strict=False))


def baseline_name(config: Config, coefficients: Mapping[str, Any]) -> str:
    """``standard training``, ``standard training, learning_rate 0.05`` or ``baseline alpha 1 beta 1 gamma 0.3``."""
    if not is_standard(config, coefficients):
        return f"baseline {coefficients_text(coefficients)}".strip()
    own = config.of_method(coefficients).method.coefficients
    others = {name: value for name, value in coefficients.items() if method_and_key(name)[1] not in own}
    return ", ".join(filter(None, ["standard training", coefficients_text(others)]))


def is_standard(config: Config, coefficients: Mapping[str, Any]) -> bool:
    """Whether a trial with these coefficients has the cross-entropy as its whole loss."""
    return config.with_coefficients(coefficients).method.is_standard
