"""What modules of MwT and NeMo multiply kept units by, in place of the masks: three ways on the same trainings.

Trains both methods on digits, with three seeds, and measures the reuse accuracy of the rule `gate` at a share of 0.9 on
the test images, without a bias: units times the mean of open masks over the classes (what is done), times the mean of
all masks over the classes' images, and as they are (as published).

Usage: python tests/benchmarks/gate_scales.py [folder for the storage]
Time: about 6 minutes on one core
"""

import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping

import torch

from moda_core import Decomposition, Scales, draw_budget, estimate_reuse
from moda_core.choosing import GATE_SIZES, GATE_SUMS
from orchestrator.config.choice import Choice
from orchestrator.config.composing import load_config
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import choose
from orchestrator.training.trial import Trial, load_trained, run_trial

MODELS = {
    "small VGG": ("model=vgg_small",),
    "ResNet18, width 8": ("model=resnet18", "model.width=8", "training.epochs=12"),
}
CHOICE, PAIRS, SEEDS = Choice.gate(0.9), 5000, 3
FEW = (
    *("tracking=none", "evaluation.taus=[0.9]", "evaluation.thresholds=[0.0]", "evaluation.targets=[]"),
    "evaluation.gate_shares=[0.9]",
)


def measure(method: str, overrides: tuple[str, ...], seed: int, root: str) -> Mapping[str, float]:
    """Reuse accuracy by what units are multiplied by."""
    config = load_config([f"method={method}", *overrides, *FEW, f"training.seed={seed}", f"storage={root}"])
    data = load_data(config.data)
    name = "-".join([method, config.model.name, str(seed)])
    trial = Trial(name, 0, {}, config, root)
    run_trial(trial, data, report=lambda _: None)
    trained = load_trained(trial, data, [CHOICE])
    chosen = choose(trained, CHOICE, config.evaluation)
    draw = draw_budget(data.test.labels, PAIRS, num_classes=data.num_classes, seed=0)
    units = dict(_ways(chosen.units, trained.rules[CHOICE.rule].counts, chosen.sites.widths))
    return {way: estimate_reuse(trained.network, chosen.sites, own, data.test, draw).mean for way, own in units.items()}


def _ways(
    units: Decomposition, counts: Mapping[str, torch.Tensor], widths: list[int]
) -> Iterator[tuple[str, Decomposition]]:
    yield "mean of open masks", units
    means = Scales(counts[GATE_SUMS].split(widths, dim=1), counts[GATE_SIZES])
    yield "mean of all masks", Decomposition(units.keep, means)
    yield "1, as published", Decomposition(units.keep)


def main(root: str) -> None:
    for model, overrides in MODELS.items():
        for method in ("mwt", "nemo"):
            found = [measure(method, overrides, seed, root) for seed in range(SEEDS)]
            values = {way: [one[way] for one in found] for way in found[0]}
            texts = (f"{way} {statistics.mean(v):.4f} ± {statistics.stdev(v):.4f}" for way, v in values.items())
            print(f"{method}, {model}: " + ", ".join(texts), flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(sys.argv[1] if len(sys.argv) > 1 else scratch)
