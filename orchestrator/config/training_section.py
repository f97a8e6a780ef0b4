"""The section `training` of the configuration: how a network is trained."""

from dataclasses import dataclass
from typing import Annotated

from orchestrator.config.checks import MOST, check, check_seed, one_of
from orchestrator.declarations import Key
from orchestrator.errors import ConfigError

COMPILING = ("auto", "cuda_graphs", "kernels", "none")
MEMORY_FORMATS = ("auto", "channels_last", "contiguous")
OPTIMIZERS = ("adamw", "sgd")
OPTIMIZER_STEPS = ("auto", "fused", "plain")
PRECISIONS = ("auto", "bfloat16", "float32")
SCHEDULES = ("epoch", "step")


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained: SGD with Nesterov momentum, or AdamW (which ignores ``momentum``), with a cosine
    schedule of the learning rate down to 0, by step or by epoch, after a linear warm-up if there is one. See
    ``sweeps/training``, and docs/training.md for what makes it fast.
    """

    epochs: Annotated[int, Key("length of the training", "at least 1; 0 with init_from", "epochs")]
    batch_size: Annotated[int, Key("images of a step, over all workers", "at least 1", "images")]
    learning_rate: Annotated[float, Key("highest learning rate of the schedule", "above 0")]
    optimizer: Annotated[str, Key("optimizer", choices=OPTIMIZERS)] = "sgd"
    schedule: Annotated[str, Key("whether the cosine schedule moves by step or by epoch", choices=SCHEDULES)] = "step"
    momentum: Annotated[float, Key("Nesterov momentum of SGD", "at least 0, below 1")] = 0.9
    weight_decay: Annotated[float, Key("weight decay: coupled in SGD, decoupled in AdamW", "at least 0")] = 0.0
    decay_steps: Annotated[
        int | None, Key("training length that weight_decay is stated for; null: any", "at least 1", "steps")
    ] = None
    warmup_epochs: Annotated[
        float, Key("linear warm-up of the learning rate, at most training.epochs", "at least 0", "epochs")
    ] = 0.0
    precision: Annotated[str, Key("type of the forward pass; auto: by the processor", choices=PRECISIONS)] = "auto"
    compile: Annotated[str, Key("how steps are recorded or compiled", choices=COMPILING)] = "auto"
    memory_format: Annotated[str, Key("layout of images in memory", choices=MEMORY_FORMATS)] = "auto"
    optimizer_step: Annotated[str, Key("implementation of the optimizer's step", choices=OPTIMIZER_STEPS)] = "auto"
    num_workers: Annotated[int, Key("processes that train one network together", "at least 1", "processes")] = 1
    cpus_per_worker: Annotated[int, Key("CPU cores of a process", "at least 1", "cores")] = 1
    gpus_per_worker: Annotated[
        float, Key("GPUs of a process: a share up to 1, or a whole number", "at least 0", "GPUs")
    ] = 0.0
    sync_batch_norm: Annotated[bool, Key("batch norm over the samples of all workers, on GPUs")] = False
    max_failures: Annotated[int, Key("how often a failed trial is tried again at once", "at least 0", "attempts")] = 1
    seed: Annotated[int, Key("seed of weights, order and augmentation", "at least 0")] = 0
    init_from: Annotated[str | None, Key("file of initial weights, safetensors or a state dict; null: none")] = None

    def __post_init__(self) -> None:
        one_of("training.compile", self.compile, COMPILING)
        one_of("training.memory_format", self.memory_format, MEMORY_FORMATS)
        one_of("training.optimizer", self.optimizer, OPTIMIZERS)
        one_of("training.optimizer_step", self.optimizer_step, OPTIMIZER_STEPS)
        one_of("training.schedule", self.schedule, SCHEDULES)
        one_of("training.precision", self.precision, PRECISIONS)
        least_epochs = 1 if self.init_from is None else 0
        check("training.epochs", self.epochs, self.epochs >= least_epochs, f"a whole number of at least {least_epochs}")
        for name in ("batch_size", "num_workers", "cpus_per_worker"):
            value = getattr(self, name)
            check(f"training.{name}", value, 1 <= value <= MOST, f"a whole number from 1 to {MOST}")
        check("training.epochs", self.epochs, self.epochs <= MOST, f"at most {MOST}")
        warmup, most = self.warmup_epochs, f"a number of epochs from 0 to training.epochs={self.epochs}"
        check("training.warmup_epochs", warmup, warmup >= 0 and (warmup <= self.epochs or self.epochs == 0), most)
        check("training.learning_rate", self.learning_rate, self.learning_rate > 0, "a number above 0")
        check("training.momentum", self.momentum, 0 <= self.momentum < 1, "within [0, 1)")
        check_seed("training.seed", self.seed)
        for name in ("weight_decay", "gpus_per_worker", "max_failures"):
            value = getattr(self, name)
            check(f"training.{name}", value, value >= 0, "at least 0")
        steps = self.decay_steps
        check("training.decay_steps", steps, steps is None or 1 <= steps <= MOST, f"null or from 1 to {MOST}")
        gpus, remedy = self.gpus_per_worker, "a share of a GPU up to 1, or a whole number"
        check("training.gpus_per_worker", gpus, gpus <= 1 or float(gpus).is_integer(), remedy)
        if self.sync_batch_norm and self.num_workers == 1:
            raise ConfigError(
                "training.sync_batch_norm=true needs several workers; set training.num_workers to 2 or more, or"
                " training.sync_batch_norm=false"
            )
        if self.sync_batch_norm and self.gpus_per_worker == 0:
            raise ConfigError(
                "training.sync_batch_norm=true: SyncBatchNorm runs on GPUs only; set training.sync_batch_norm=false"
                " or training.gpus_per_worker=1"
            )
