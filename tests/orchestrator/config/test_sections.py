"""Each section refuses what cannot be right, in one line that names the key, the value and what would be right."""

import dataclasses
import re

import pytest

from orchestrator.config.data_section import DataConfig
from orchestrator.config.evaluation_section import EvaluationConfig
from orchestrator.config.search_section import Dimension, Objective, SearchConfig
from orchestrator.config.sections import SweepConfig, TrackingConfig
from orchestrator.config.training_section import TrainingConfig
from orchestrator.declarations import METRICS, Metric
from orchestrator.errors import ConfigError
from tests.objectives import linear

RIGHT = {
    DataConfig: {"name": "digits"},
    TrainingConfig: {"epochs": 1, "batch_size": 2, "learning_rate": 0.1},
    EvaluationConfig: {"taus": (0.9,), "thresholds": (0.0,), "pairs": 1000, "test_pairs": 5000},
    SearchConfig: {
        "name": "sobol",
        "space": {"alpha": Dimension(0.1, 10.0, log=True)},
        "objectives": linear(reuse_accuracy="max", cut_size="min"),
        "reference": {"reuse_accuracy": 0.5, "cut_size": 1.0},
    },
    SweepConfig: {},
    TrackingConfig: {},
}
SEED = "must be a whole number from 0 to 9223372036854775807"
COUNT = "must be a whole number from 1 to 1000000000"
IMAGES = "one number per channel, of images scaled to [0, 1]; divide values from 0 to 255 by 255"
SYNC = {"sync_batch_norm": True}
SETS = "cifar10, cifar100, digits, fashion_mnist, folder, mnist, svhn, table"
CUT = {"name": "folder", "path": "photos", "resize": 72}
REFUSED = [
    (DataConfig, {"name": "emnist"}, "data.name='emnist' is not known; known: " + SETS),
    (DataConfig, {"classes": ("3",)}, "data.classes=['3']: must be two classes or more"),
    (DataConfig, {"channels": 4}, "data.channels=4: must be 1 (grey) or 3 (colour)"),
    (DataConfig, {"limit": 0}, "data.limit=0: must be a positive number, or null for all"),
    (DataConfig, {"test_limit": -1}, "data.test_limit=-1: must be positive, or null"),
    (DataConfig, {"validation_fraction": -0.1}, "data.validation_fraction=-0.1: must be within [0, 1)"),
    (DataConfig, {"validation_fraction": 1.0}, "data.validation_fraction=1.0: must be within [0, 1)"),
    (
        DataConfig,
        {"normalisation": "svhn"},
        "data.normalisation='svhn' is not known; known: statistics, cifar10, cifar100, cifar100_published, imagenet",
    ),
    (
        DataConfig,
        {"normalisation": "cifar10", "mean": (0.5,), "std": (0.5,)},
        "data.normalisation=cifar10 and data.mean=[0.5]: give the one or the other",
    ),
    (DataConfig, {"crop": -1}, "data.crop=-1: must be at least 0: the padding of the random crop"),
    (DataConfig, {"resize": 4097}, "data.resize=4097: must be 1 to 4096, or null"),
    (DataConfig, {"resize": 0}, "data.resize=0: must be 1 to 4096, or null"),
    (
        DataConfig,
        {**CUT, "fit": "crop"},
        "data.fit='crop' is not known; known: stretch, centre, random, random_resized",
    ),
    (
        DataConfig,
        {**CUT, "image_size": 64},
        "data.image_size=64 is cut out of images of data.fit=centre, random or random_resized; set one of them, or"
        " data.resize alone",
    ),
    (
        DataConfig,
        {"name": "svhn", "fit": "centre"},
        "data.fit=centre is for data=folder and data=table; images of svhn are of one size, so leave it out",
    ),
    (
        DataConfig,
        {**CUT, "fit": "centre", "resize": None},
        "data.fit=centre needs data.resize=..., the length of an image's shorter side",
    ),
    (
        DataConfig,
        {**CUT, "fit": "random", "image_size": 72},
        "data.image_size=72: must be 1 to 71 with data.fit=random and data.resize=72",
    ),
    (
        DataConfig,
        {**CUT, "fit": "centre", "image_size": 73},
        "data.image_size=73: must be 1 to 72 with data.fit=centre and data.resize=72",
    ),
    (
        DataConfig,
        {**CUT, "fit": "random_resized", "image_size": 0},
        "data.image_size=0: must be 1 to 72 with data.fit=random_resized and data.resize=72",
    ),
    (
        DataConfig,
        {**CUT, "fit": "random", "image_size": 64, "crop": 4},
        "data.crop=4 and data.fit=random both crop; set data.crop=0",
    ),
    (DataConfig, {"name": "folder"}, "data.path=null: name the folder of images, data.path=..."),
    (DataConfig, {"background": "grey"}, "data.background='grey' is not known; known: black, white"),
    (DataConfig, {"mean": (0.5,)}, "data.std=null: data.mean and data.std go together; set both, or neither"),
    (DataConfig, {"std": (0.5,)}, "data.mean=null: data.mean and data.std go together; set both, or neither"),
    (DataConfig, {"mean": (33.0,), "std": (0.5,)}, f"data.mean=[33.0]: must be within [0, 1], {IMAGES}"),
    (DataConfig, {"mean": (0.0,), "std": (0.0,)}, f"data.std=[0.0]: must be within (0, 1], {IMAGES}"),
    (DataConfig, {"seed": 2**32}, "data.seed=4294967296: must be a whole number from 0 to 4294967295"),
    (
        DataConfig,
        {"name": "table"},
        "data.path=null: name the Parquet or Arrow file, folder or pattern, data.path=...",
    ),
    (TrainingConfig, {"schedule": "batch"}, "training.schedule='batch' is not known; known: epoch, step"),
    (TrainingConfig, {"optimizer": "adam"}, "training.optimizer='adam' is not known; known: adamw, sgd"),
    (
        TrainingConfig,
        {"precision": "float16"},
        "training.precision='float16' is not known; known: auto, bfloat16, float32",
    ),
    (
        TrainingConfig,
        {"compile": "default"},
        "training.compile='default' is not known; known: auto, cuda_graphs, kernels, none",
    ),
    (
        TrainingConfig,
        {"memory_format": "nhwc"},
        "training.memory_format='nhwc' is not known; known: auto, channels_last, contiguous",
    ),
    (
        TrainingConfig,
        {"optimizer_step": "foreach"},
        "training.optimizer_step='foreach' is not known; known: auto, fused, plain",
    ),
    (
        TrainingConfig,
        {"epochs": 2, "warmup_epochs": 2.5},
        "training.warmup_epochs=2.5: must be a number of epochs from 0 to training.epochs=2",
    ),
    (
        TrainingConfig,
        {"gpus_per_worker": 1.5},
        "training.gpus_per_worker=1.5: must be a share of a GPU up to 1, or a whole number",
    ),
    (TrainingConfig, {"epochs": 0}, "training.epochs=0: must be a whole number of at least 1"),
    (TrainingConfig, {"epochs": -1, "init_from": "x"}, "training.epochs=-1: must be a whole number of at least 0"),
    (TrainingConfig, {"epochs": 10**9 + 1}, "training.epochs=1000000001: must be at most 1000000000"),
    (TrainingConfig, {"batch_size": 0}, f"training.batch_size=0: {COUNT}"),
    (TrainingConfig, {"num_workers": 0}, f"training.num_workers=0: {COUNT}"),
    (TrainingConfig, {"cpus_per_worker": 10**9 + 1}, f"training.cpus_per_worker=1000000001: {COUNT}"),
    (TrainingConfig, {"learning_rate": 0.0}, "training.learning_rate=0.0: must be a number above 0"),
    (TrainingConfig, {"momentum": 1.0}, "training.momentum=1.0: must be within [0, 1)"),
    (TrainingConfig, {"momentum": -0.1}, "training.momentum=-0.1: must be within [0, 1)"),
    (TrainingConfig, {"seed": -1}, f"training.seed=-1: {SEED}"),
    (TrainingConfig, {"seed": 2**63}, f"training.seed=9223372036854775808: {SEED}"),
    (TrainingConfig, {"weight_decay": -0.1}, "training.weight_decay=-0.1: must be at least 0"),
    (TrainingConfig, {"gpus_per_worker": -1.0}, "training.gpus_per_worker=-1.0: must be at least 0"),
    (TrainingConfig, {"max_failures": -1}, "training.max_failures=-1: must be at least 0"),
    (
        TrainingConfig,
        SYNC,
        "training.sync_batch_norm=true needs several workers; set training.num_workers to 2 or more, or"
        " training.sync_batch_norm=false",
    ),
    (
        TrainingConfig,
        {**SYNC, "num_workers": 2},
        "training.sync_batch_norm=true: SyncBatchNorm runs on GPUs only; set training.sync_batch_norm=false or"
        " training.gpus_per_worker=1",
    ),
    (EvaluationConfig, {"taus": ()}, "evaluation.taus=[]: must be one or more different numbers"),
    (EvaluationConfig, {"taus": (0.5, 0.5)}, "evaluation.taus=[0.5, 0.5]: must be one or more different numbers"),
    (EvaluationConfig, {"taus": (0.0,)}, "evaluation.taus=[0.0]: must be each within (0, 1]"),
    (EvaluationConfig, {"taus": (0.5, 1.1)}, "evaluation.taus=[0.5, 1.1]: must be each within (0, 1]"),
    (EvaluationConfig, {"thresholds": ()}, "evaluation.thresholds=[]: must be one or more different numbers"),
    (EvaluationConfig, {"thresholds": (-0.1,)}, "evaluation.thresholds=[-0.1]: must be each at least 0"),
    (
        EvaluationConfig,
        {"levels": (0.1, 0.1)},
        "evaluation.levels=[0.1, 0.1]: must be different numbers, or [] for none",
    ),
    (EvaluationConfig, {"levels": (-0.1,)}, "evaluation.levels=[-0.1]: must be each at least 0"),
    (EvaluationConfig, {"magnitude_targets": (0.0,)}, "evaluation.magnitude_targets=[0.0]: must be each within (0, 1]"),
    (
        EvaluationConfig,
        {"scores": (0.0, 0.0)},
        "evaluation.scores=[0.0, 0.0]: must be different numbers, or [] for none",
    ),
    (EvaluationConfig, {"targets": (1.1,)}, "evaluation.targets=[1.1]: must be each within (0, 1]"),
    (EvaluationConfig, {"stages": ("cut",)}, "evaluation.stages='cut' is not known; known: refit, tuned"),
    (EvaluationConfig, {"staged": ("best", "best")}, "evaluation.staged=['best', 'best']: must be different names"),
    (EvaluationConfig, {"tuned_epochs": 0}, f"evaluation.tuned_epochs=0: {COUNT}"),
    (EvaluationConfig, {"refit_images": 0}, f"evaluation.refit_images=0: {COUNT}"),
    (EvaluationConfig, {"seed": -1}, f"evaluation.seed=-1: {SEED}"),
    (EvaluationConfig, {"floor": 1.0}, "evaluation.floor=1.0: must be within [0, 1)"),
    *(
        (EvaluationConfig, {name: 0}, f"evaluation.{name}=0: {COUNT}")
        for name in ("pairs", "test_pairs", "subsets_per_size", "test_images_per_size")
    ),
    (
        EvaluationConfig,
        {"images_per_size": 60},
        "evaluation.images_per_size=60 is how draws were stated before evaluation.pairs=1000; leave it out, or set"
        " evaluation.pairs=null",
    ),
    (
        EvaluationConfig,
        {"test_pairs": None, "test_images_per_size": 60},
        "evaluation.test_pairs=null: must be a whole number of (image, subset) pairs",
    ),
    (
        SearchConfig,
        {"name": "grid"},
        "search.name='grid' is not known; known: curve, optuna_gp, optuna_tpe, random, sobol",
    ),
    (
        SearchConfig,
        {"objectives": linear(accuracy="max")},
        "search.objectives={'accuracy': 'max'}: must be two objectives or more; to add one to those that are there:"
        " search.objectives.accuracy=...",
    ),
    (
        SearchConfig,
        {"objectives": linear(**dict.fromkeys("abcde", "max"))},
        "search.objectives={'a': 'max', 'b': 'max', 'c': 'max', 'd': 'max', 'e': 'max'}: must be four objectives at"
        " most; make the others search.constraints",
    ),
    (
        SearchConfig,
        {"objectives": linear(accuracy="up", flops="min")},
        "search.objectives.accuracy='up' is not known; known: max, min",
    ),
    (SearchConfig, {"seed": -1}, f"search.seed=-1: {SEED}"),
    (SearchConfig, {"repeats": 0}, "search.repeats=0: must be at least 1, at most 1000000000"),
    (
        SearchConfig,
        {"constraints": ("fast",)},
        "search.constraints: constraint 'fast' must read like 'accuracy >= 0.9' or 'cut_size <= 0.2'",
    ),
    (SearchConfig, {"warm_start": ("a", "a")}, "search.warm_start=['a', 'a']: must be different sweeps"),
    (
        SearchConfig,
        {"early_stopping": "asha"},
        "search.early_stopping='asha' is not known; known: none, pareto_halving",
    ),
    (
        SearchConfig,
        {"reduction": 1},
        "search.reduction=1 search.first_rung=0.1111111111111111: reduction=1 must be at least 2; 3 keeps one trial in"
        " three at each rung",
    ),
    (
        SearchConfig,
        {"first_rung": 1.0},
        "search.reduction=3 search.first_rung=1.0: first=1.0 must be a fraction of the training, within (0, 1) by at"
        " least a millionth",
    ),
    (SweepConfig, {"trials": 0}, "sweep.trials=0: must be at least 1, at most 1000000000"),
    (SweepConfig, {"trials": 10**9 + 1}, "sweep.trials=1000000001: must be at least 1, at most 1000000000"),
    (SweepConfig, {"concurrency": 0}, "sweep.concurrency=0: must be at least 1"),
    (
        SweepConfig,
        {"name": "My sweep!"},
        "sweep.name='My sweep!': quoted or not, use 1 to 64 of the characters a-z 0-9 _ -,"
        " beginning with a letter or digit, such as my-sweep",
    ),
    (
        SweepConfig,
        {"name": "é"},
        "sweep.name='é': quoted or not, use 1 to 64 of the characters a-z 0-9 _ -, beginning with a letter or digit",
    ),
    (TrackingConfig, {"name": "mlflow"}, "tracking.name='mlflow' is not known; known: none, wandb"),
]
SPACE = [
    ({"low": 1.0}, "low=1.0 high=None; give both, or choices", ""),
    ({"high": 1.0}, "low=None high=1.0; give both, or choices", ""),
    ({"low": 2.0, "high": 2.0}, "low=2.0 high=2.0; low must be below high", ""),
    ({"low": 0.0, "high": float("inf")}, "low=0.0 high=inf; low must be below high", ""),
    (
        {"low": 0.0, "high": 1.0, "log": True},
        "0.0: must be above 0 on a logarithmic scale; zero: true adds 0 itself",
        ".low=",
    ),
    (
        {"low": 0.1, "high": 1.0, "zero": True},
        "True: must be false but for log: true without integer: true; elsewhere low may be 0",
        ".zero=",
    ),
    ({"low": 0.5, "high": 2.0, "integer": True}, "0.5 to 2.0: must be between whole numbers of at most 2^53", "="),
    ({"low": 0.0, "high": 2.0**54, "integer": True}, "must be between whole numbers of at most 2^53", "=0.0 to"),
    ({"choices": (1,)}, "[1]: must be two or more, all different", ".choices="),
    ({"choices": (1, 1)}, "[1, 1]: must be two or more, all different", ".choices="),
    ({"choices": (1, "a")}, "[1, 'a']: must be all numbers or all text", ".choices="),
    ({"choices": (0, 2**53 + 1)}, "[0, 9007199254740993]: must be whole numbers of at most 2^53", ".choices="),
    (
        {"choices": (1, 2), "low": 1.0, "log": True},
        "{'low': 1.0, 'log': True}: must be choices alone; remove the other keys (~search.space.k.low"
        " ~search.space.k.log)",
        "=",
    ),
]


def names(cases):
    return [f"{kind.__name__} {' '.join(wrong)}" for kind, wrong, _ in cases]


@pytest.mark.parametrize(("kind", "wrong", "message"), REFUSED, ids=names(REFUSED))
def test_what_is_refused_is_named_with_its_value_and_the_remedy(kind, wrong, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        kind(**{**RIGHT[kind], **wrong})


KNOWN = (
    "accuracy, balanced_accuracy, balanced_reuse_accuracy, calibrated_reuse_accuracy, coupling, cut_overlap, cut_size,"
    " flops, kernel_retention, linear_retention, module_overlap, module_size, overlap_jaccard, reuse_accuracy,"
    " worst_class_accuracy, worst_class_reuse_accuracy"
)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"objectives": linear(speed="max", accuracy="max")},
            f"search.objectives='speed' is not known; known: {KNOWN}",
        ),
        (
            {"reference": {"reuse_accuracy": 0.5}},
            "search.reference={'reuse_accuracy': 0.5}: must be complete; add a value for ['cut_size']",
        ),
        (
            {"reference": {"cut_size": 1.0, "size": 1.0}},
            f"search.reference='size' is not known; known: {KNOWN}",
        ),
        (
            {"constraints": ("speed >= 1",)},
            f"search.constraints: 'speed >= 1': metric='speed' is not known; known: {KNOWN}",
        ),
    ],
)
def test_objectives_and_constraints_are_on_metrics(wrong, message):
    search = SearchConfig(**{**RIGHT[SearchConfig], **wrong})
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        search.check_metrics({})


def test_a_metric_of_ones_own_may_be_an_objective():
    search = SearchConfig(**{**RIGHT[SearchConfig], "objectives": linear(speed="max", accuracy="max")})
    speed = Metric("speed", "speed", kind="amount", direction="max")
    with pytest.raises(ConfigError, match=r"must be complete; add a value for \['accuracy', 'speed'\]"):
        dataclasses.replace(search, reference={}).check_metrics({"speed": speed})
    dataclasses.replace(search, reference={"speed": 0.0, "accuracy": 0.0}).check_metrics({"speed": speed})


def test_what_may_be_below_0_has_no_logarithm():
    objectives = {"gain": Objective("max", "log"), "accuracy": Objective("max", "linear")}
    search = SearchConfig(
        **{**RIGHT[SearchConfig], "objectives": objectives, "reference": {"gain": 1.0, "accuracy": 0.0}}
    )
    with pytest.raises(
        ConfigError, match=r"^search\.objectives\.gain\.scale=log: must be linear: the metric may be below 0"
    ):
        search.check_metrics({"gain": Metric("gain", "gain", kind="number", direction="max")})
    search.check_metrics({"gain": Metric("gain", "gain", kind="amount", direction="max")})


def test_scales_and_reference_values_are_completed_as_metrics_declare_them():
    stated = {
        "objectives": {
            "cost": Objective("min"),
            "cut_size": Objective("min", "linear"),
            "reuse_accuracy": Objective("max"),
        }
    }
    cost = Metric("cost", "cost", kind="amount", direction="min", is_logarithmic=True, reference=64.0)
    search = SearchConfig(**{**RIGHT[SearchConfig], **stated, "reference": {"cut_size": 0.5}})
    assert search.completed(METRICS).objectives["cost"].scale is None  # what an own metric declares is not known yet
    completed = search.completed({**METRICS, "cost": cost})
    assert completed.scales == ["log", "linear", "linear"]
    assert completed.reference == {"cost": 64.0, "cut_size": 0.5, "reuse_accuracy": None}
    assert completed.reference_values({"reuse_accuracy": 0.8, "cut_size": 0.1}) == [64.0, 0.5, 0.8]
    assert completed.completed({**METRICS, "cost": cost}) == completed


@pytest.mark.parametrize(("stated", "message", "part"), SPACE, ids=[str(stated) for stated, _, _ in SPACE])
def test_a_dimension_that_is_none_is_named_with_its_key(stated, message, part):
    with pytest.raises(ConfigError) as refused:
        SearchConfig(**{**RIGHT[SearchConfig], "space": {"k": Dimension(**stated)}})
    text = str(refused.value)
    assert text.startswith(f"search.space.k{part or ': '}")
    assert text.endswith(message)


def test_the_ends_of_what_is_allowed_are_taken():
    assert TrainingConfig(epochs=0, batch_size=10**9, learning_rate=1e-9, init_from="x", seed=2**63 - 1).epochs == 0
    assert TrainingConfig(epochs=0, batch_size=1, learning_rate=1, init_from="x", warmup_epochs=5).warmup_epochs == 5
    assert (
        TrainingConfig(epochs=2, batch_size=1, learning_rate=1, warmup_epochs=2, gpus_per_worker=4).gpus_per_worker == 4
    )
    assert DataConfig("digits", validation_fraction=0.01, resize=4096, mean=(0.0,), std=(1.0,)).resize == 4096
    assert EvaluationConfig(**{**RIGHT[EvaluationConfig], "taus": (1.0,), "floor": 0.0}).levels == ()
    assert SweepConfig(name="a" * 64, trials=1, concurrency=1).concurrency == 1
    several = ("accuracy", "coupling", "flops", "cut_size")
    given = {"objectives": linear(**dict.fromkeys(several, "min")), "reference": dict.fromkeys(several, 1.0)}
    assert len(SearchConfig(**{**RIGHT[SearchConfig], **given}).objectives) == 4


@pytest.mark.parametrize(
    ("dimension", "ends", "stated", "is_text"),
    [
        (Dimension(0.5, 2.0), (0.5, 2.0), {"low": 0.5, "high": 2.0, "log": False, "integer": False}, False),
        (Dimension(1.0, 4.0, integer=True), (1, 4), {"low": 1.0, "high": 4.0, "log": False, "integer": True}, False),
        (Dimension(choices=(3, 1)), (3, 1), {"choices": [3, 1]}, False),
        (Dimension(choices=("sgd", "adamw")), ("sgd", "adamw"), {"choices": ["sgd", "adamw"]}, True),
    ],
)
def test_a_dimension_says_its_ends_and_how_a_searcher_sees_it(dimension, ends, stated, is_text):
    dimension.check("search.space.k")
    assert (dimension.ends, dimension.stated, dimension.is_text) == (ends, stated, is_text)
    assert [type(end) for end in dimension.ends] == [type(end) for end in ends]
