"""What the stages after cutting add to the work of a trial, said before anything is trained."""

from orchestrator.config import Config
from orchestrator.declarations import REFIT, TUNED
from orchestrator.training.stages import stage_subsets


def stages_lines(config: Config, num_classes: int) -> list[str]:
    """Describe what the stages after cutting add to each trial. Returns nothing without such stages."""
    evaluation, epochs = config.evaluation, config.training.epochs
    if not evaluation.stages:
        return []
    subsets = stage_subsets(num_classes, evaluation.seed)
    modules = 2 * len(subsets) * len(evaluation.staged)
    each = {
        REFIT: f"refitted on up to {evaluation.refit_images} images",
        TUNED: f"tuned for {_count(evaluation.tuned_epochs, 'epoch')}",
    }
    treatment = " and ".join(each[stage] for stage in evaluation.stages)
    line = (
        f"stages after cutting: up to {modules} modules of each trial ({_count(len(evaluation.staged), 'choice')},"
        f" {_count(len(subsets), 'class subset')}, each beside random units) are {treatment}"
    )
    if TUNED in evaluation.stages:
        shown = sum(len(subset) for subset in subsets) / num_classes
        passes = 2 * len(evaluation.staged) * evaluation.tuned_epochs * shown
        line += f"; tuning them shows about as many images as {passes:.0f} epochs of training, and a trial has {epochs}"
    return [line]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
