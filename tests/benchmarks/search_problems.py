"""Problems with a known front, for search_efficiency.py: every objective is minimised, every variable is in [0, 1].

ZDT1 to 3: Zitzler, Deb and Thiele 2000, with 5 variables (the usual 30 would leave 40 evaluations nothing but the
descent). DTLZ2: Deb, Thiele, Laumanns and Zitzler 2002, with 3 distance variables. "tau": a problem of our own with
three coefficients and a free parameter t, whose front is DTLZ2's for two objectives; a training shows a curve over t.

True hypervolumes, reference 1.1 in every objective; phi is the front and everything beyond 1 adds 0.1 x 1.1:
    ZDT1   phi = 1 - sqrt f     0.1 + 2/3 + 0.11 = 0.876667
    ZDT2   phi = 1 - f^2        0.1 + 1/3 + 0.11 = 0.543333
    ZDT3   phi = 1 - sqrt f - f sin(10 pi f) on five pieces, the integral between them by quadrature: 1.331758
    DTLZ2  the box less an eighth (a quarter) of the unit ball: 1.1^3 - pi/6 = 0.807401, 1.1^2 - pi/4 = 0.424602
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from orchestrator.search.problem import Problem

Values = tuple[float, ...]


@dataclass(frozen=True)
class KnownProblem:
    """A problem and what is known of its front.

    Attributes:
        names: of the variables that a training has.
        evaluate: objectives from the variables and, by its name, the free parameter.
        objectives: how many.
        hypervolume: of the true front, reference 1.1 in every objective.
        best_of_20: the highest hypervolume of any 20 points; None where it is not known.
        free: name -> knots.
    """

    names: Sequence[str]
    evaluate: Callable[[Mapping[str, float]], Values]
    objectives: int
    hypervolume: float
    best_of_20: float | None = None
    free: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        """Names of the objectives."""
        return [f"f{index}" for index in range(self.objectives)]

    def stated(self, seed: int) -> Problem:
        """As a searcher knows it."""
        space = {name: {"low": 0.0, "high": 1.0} for name in self.names}
        reference = dict.fromkeys(self.metrics, 1.1)
        return Problem(space, self.free, dict.fromkeys(self.metrics, "min"), reference=reference, seed=seed)


def zdt(shape: Callable[[float, float], float]) -> Callable[[Mapping[str, float]], Values]:
    """f2 = g shape(f1, f1 / g), with g = 1 + 9 mean of the other variables."""

    def evaluate(point: Mapping[str, float]) -> Values:
        first, *rest = point.values()
        g = 1 + 9 * sum(rest) / len(rest)
        return first, g * shape(first, first / g)

    return evaluate


def sphere(angles: Sequence[float], radius: float) -> Values:
    """The point of the positive part of a sphere at angles in quarter turns."""
    values = []
    for index in range(len(angles) + 1):
        cosines = math.prod(math.cos(math.pi / 2 * angle) for angle in angles[: len(angles) - index])
        values.append(radius * cosines * (math.sin(math.pi / 2 * angles[len(angles) - index]) if index else 1.0))
    return tuple(values)


def dtlz2(objectives: int) -> Callable[[Mapping[str, float]], Values]:
    """Objectives on a sphere whose radius is 1 + the squared distance of the last variables from their middle."""

    def evaluate(point: Mapping[str, float]) -> Values:
        values = list(point.values())
        angles, rest = values[: objectives - 1], values[objectives - 1 :]
        return sphere(angles, 1 + sum((one - 0.5) ** 2 for one in rest))

    return evaluate


def tau_curve(point: Mapping[str, float]) -> Values:
    """(a, b, c) and t: a shifts the curve along the front, and (b, c) suit one place of it only."""
    place = (point["t"] + point["a"]) / 2
    g = 3 * ((point["b"] - 0.3 - 0.4 * place) ** 2 + (point["c"] - 0.7 + 0.4 * place) ** 2)
    return sphere([place], 1 + g)


def tau_problem(knots: int) -> KnownProblem:
    """The tau problem with so many equally spaced knots of t."""
    free: npt.NDArray[np.float64] = np.linspace(0, 1, knots)
    return KnownProblem(["a", "b", "c"], tau_curve, 2, QUARTER_DISC, QUARTER_DISC_20, {"t": free.tolist()})


def variables(count: int) -> list[str]:
    """x0, x1, ..."""
    return [f"x{index}" for index in range(count)]


QUARTER_DISC = 1.1**2 - math.pi / 4
QUARTER_DISC_20 = 0.40686
PROBLEMS: dict[str, KnownProblem] = {
    "zdt1": KnownProblem(variables(5), zdt(lambda f, ratio: 1 - math.sqrt(ratio)), 2, 0.21 + 2 / 3, 0.85290),
    "zdt2": KnownProblem(variables(5), zdt(lambda f, ratio: 1 - ratio**2), 2, 0.21 + 1 / 3, 0.52070),
    "zdt3": KnownProblem(
        variables(5), zdt(lambda f, ratio: 1 - math.sqrt(ratio) - ratio * math.sin(10 * math.pi * f)), 2, 1.331758
    ),
    "dtlz2_2": KnownProblem(variables(4), dtlz2(2), 2, QUARTER_DISC, QUARTER_DISC_20),
    "dtlz2_3": KnownProblem(variables(5), dtlz2(3), 3, 1.1**3 - math.pi / 6),
    "tau_6": tau_problem(6),
    "tau_21": tau_problem(21),
}
