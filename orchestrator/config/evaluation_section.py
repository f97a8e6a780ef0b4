"""The section `evaluation` of the configuration: the choices after training, and how they are measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from moda_core.rules import BY_CONTRIBUTION, RANKINGS
from orchestrator.config.checks import MOST, check, check_grid, check_seed, one_of
from orchestrator.config.choice import ACTIVITY, CONTRIBUTION, GATE, MAGNITUDE, SCORE, SIZE
from orchestrator.declarations import STAGES, Key, Metric
from orchestrator.errors import ConfigError

DRAWS = {  # how many pairs reuse accuracy is estimated from, and what said so in earlier versions
    "pairs": ("subsets_per_size", "images_per_size"),
    "test_pairs": ("test_subsets_per_size", "test_images_per_size"),
}
BEFORE_PAIRS = Key("how sweeps from before there was pairs drew them", is_shown=False)


@dataclass(frozen=True)
class EvaluationConfig:
    """The choices after training (every tau and threshold, level, target size and share of open gates), and how reuse
    accuracy is estimated.

    Attributes:
        ranking: by what the units of modules of a target size are chosen: ``worth`` or ``contribution``.
        magnitude_targets: sizes of modules whose units are chosen by the magnitude of filters, for all classes alike.
        scores: above which a class keeps a unit, of methods that train scores of units; such a method's file sets it.
        rules: a user's own rules by import path, each with the values of its parameters; none until
            :func:`orchestrator.training.with_own_parts` has asked the rule.
        metrics: a user's own metrics by import path, each as it declares itself; nothing until then likewise.
        augmented: whether counting sees the training images cropped and flipped as training does, by ``seed``.
        stages: what is done to modules after cutting, each by itself: ``refit``, ``tuned``.
        staged: of which choices of each trial: ``best`` and ``knee`` of the trial, or choices as points name them.
        refit_images: at most how many training images of the target classes a refit sees.
        tuned_epochs: of the tuning.
        pairs: how many (image, subset) pairs a choice near the front is tested on, on validation.
        test_pairs: likewise on test.
        subsets_per_size: of sweeps from before there was ``pairs``, as the three after it: the draw of their time.
    """

    taus: Annotated[
        tuple[float, ...],
        Key("rule activity: a unit is kept if active on this share of images", "0 to 1 each", "share"),
    ]
    thresholds: Annotated[
        tuple[float, ...], Key("rule activity: active means above this", "0 or more each", "unit's mean")
    ]
    # Sweeps from before there were levels record none, nor target sizes, nor shares of gates.
    levels: Annotated[tuple[float, ...], Key("rule contribution: least contribution of a unit", "0 or more each")] = ()
    targets: Annotated[
        tuple[float, ...], Key("rule size: mean size that modules should have", "0 to 1 each", "share of parameters")
    ] = ()
    ranking: Annotated[str, Key("rule size: by what units are kept", choices=RANKINGS)] = BY_CONTRIBUTION
    magnitude_targets: Annotated[
        tuple[float, ...], Key("rule magnitude: the same by filters alone", "0 to 1 each", "share of parameters")
    ] = ()
    scores: Annotated[tuple[float, ...], Key("rule score: trained score of a unit above which it is kept")] = ()
    gate_shares: Annotated[
        tuple[float, ...], Key("rule gate: a unit is kept if open on this share of images", "0 to 1 each", "share")
    ] = ()
    rules: Annotated[
        Mapping[str, Mapping[str, tuple[float, ...]]],
        Key("own rules: [package.module:Rule], or [{name: package.module:Rule, parameter: [0.1]}]"),
    ] = field(default_factory=dict)
    metrics: Annotated[Mapping[str, Mapping[str, Any]], Key("own metrics: [package.module:Metric]")] = field(
        default_factory=dict
    )
    floor: Annotated[
        float, Key("rule activity: units that a class keeps of each layer at least", "at least 0, below 1", "share")
    ] = 0.005
    augmented: Annotated[bool, Key("whether units are counted on cropped and mirrored images")] = False
    stages: Annotated[tuple[str, ...], Key("what is done to modules after cutting", choices=STAGES)] = ()
    staged: Annotated[tuple[str, ...], Key("for which choices of each trial: best, knee, size/0.05, 0.9/0")] = (
        "best",
        "knee",
    )
    refit_images: Annotated[int, Key("training images of a refit at most", "at least 1", "images")] = 1000
    tuned_epochs: Annotated[int, Key("length of the tuning", "at least 1", "epochs")] = 10
    pairs: Annotated[
        int | None, Key("pairs of image and class subset that reuse accuracy is estimated from", "at least 1", "pairs")
    ] = None
    test_pairs: Annotated[int | None, Key("the same on the test images", "at least 1", "pairs")] = None
    subsets_per_size: Annotated[int | None, BEFORE_PAIRS] = None
    images_per_size: Annotated[int | None, BEFORE_PAIRS] = None
    test_subsets_per_size: Annotated[int | None, BEFORE_PAIRS] = None
    test_images_per_size: Annotated[int | None, BEFORE_PAIRS] = None
    seed: Annotated[int, Key("seed of the drawn subsets and images", "at least 0")] = 0

    def __post_init__(self) -> None:
        check_grid("evaluation.taus", self.taus)
        check_grid("evaluation.thresholds", self.thresholds)
        for name in ("levels", "targets", "magnitude_targets", "scores", "gate_shares"):
            values = getattr(self, name)
            different = len(set(values)) == len(values)
            check(f"evaluation.{name}", list(values), different, "different numbers, or [] for none")
        check("evaluation.taus", list(self.taus), all(0 < tau <= 1 for tau in self.taus), "each within (0, 1]")
        for name in ("targets", "magnitude_targets", "gate_shares"):
            shares = getattr(self, name)
            check(f"evaluation.{name}", list(shares), all(0 < share <= 1 for share in shares), "each within (0, 1]")
        check("evaluation.thresholds", list(self.thresholds), min(self.thresholds) >= 0, "each at least 0")
        check("evaluation.levels", list(self.levels), min(self.levels, default=0) >= 0, "each at least 0")
        for path, grid in self.rules.items():
            for name, values in grid.items():
                check_grid(f"evaluation.rules: {path}: {name}", values)
        check_seed("evaluation.seed", self.seed)
        one_of("evaluation.ranking", self.ranking, RANKINGS)
        for stage in self.stages:
            one_of("evaluation.stages", stage, STAGES)
        for key in ("stages", "staged"):
            names = getattr(self, key)
            check(f"evaluation.{key}", list(names), len(set(names)) == len(names), "different names")
        for key in ("refit_images", "tuned_epochs"):
            count = getattr(self, key)
            check(f"evaluation.{key}", count, 1 <= count <= MOST, f"a whole number from 1 to {MOST}")
        check("evaluation.floor", self.floor, 0 <= self.floor < 1, "within [0, 1)")
        for budget, earlier in DRAWS.items():
            self._check_draw(budget, earlier)

    def _check_draw(self, budget: str, earlier: tuple[str, ...]) -> None:
        """Refuse a draw that is stated in both ways, or in none."""
        stated = [name for name in (budget, *earlier) if getattr(self, name) is not None]
        for name in stated:
            value = getattr(self, name)
            check(f"evaluation.{name}", value, 1 <= value <= MOST, f"a whole number from 1 to {MOST}")
        if len(stated) > 1 and budget in stated:
            raise ConfigError(
                f"evaluation.{stated[1]}={getattr(self, stated[1])} is how draws were stated before"
                f" evaluation.{budget}={getattr(self, budget)}; leave it out, or set evaluation.{budget}=null"
            )
        if budget not in stated and len(stated) < len(earlier):
            raise ConfigError(f"evaluation.{budget}=null: must be a whole number of (image, subset) pairs")

    @property
    def grids(self) -> dict[str, Mapping[str, tuple[float, ...]]]:
        """The rules that are tried, each with the values of its parameters."""
        levels = {CONTRIBUTION: {"level": self.levels}} if self.levels else {}
        targets = {SIZE: {"target": self.targets}} if self.targets else {}
        magnitude = {MAGNITUDE: {"magnitude_target": self.magnitude_targets}} if self.magnitude_targets else {}
        scores = {SCORE: {"score": self.scores}} if self.scores else {}
        gates = {GATE: {"gate_share": self.gate_shares}} if self.gate_shares else {}
        activity = {ACTIVITY: {"tau": self.taus, "threshold": self.thresholds}}
        return {**activity, **levels, **targets, **magnitude, **scores, **gates, **self.rules}

    @property
    def own_metrics(self) -> dict[str, Metric]:
        """The declarations of a user's own metrics that are known, by name."""
        declared = [Metric(**declaration) for declaration in self.metrics.values() if declaration]
        return {metric.name: metric for metric in declared}
