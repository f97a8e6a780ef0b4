"""Configuration: what ships composes, what is wrong is said in one line."""

import dataclasses
from importlib import resources
from pathlib import Path

import pytest

from orchestrator.cli.command_line import main
from orchestrator.config.composing import load_config, override_config
from orchestrator.config.config import parse_config, to_plain
from orchestrator.config.identities import identity, identity_hash
from orchestrator.config.space import check_space, corners
from orchestrator.errors import ConfigError

SWEEPS = Path(str(resources.files("sweeps")))
SHIPPED = sorted(SWEEPS.rglob("*.yaml"))
NEEDS = {  # what a choice cannot know
    "data/folder": ["data.path=photos"],
    "data/table": ["data.path=x.parquet"],
    "model/own": ["model.name=my_package.nets:TinyNet"],
    "method/own": ["method.name=my_package.methods:Mine"],
}


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(SWEEPS)))
def test_every_shipped_file_composes_and_says_what_it_is(file):
    choice = str(file.relative_to(SWEEPS).with_suffix(""))
    overrides = [] if choice == "config" else [choice.replace("/", "=", 1)]
    config = load_config(overrides + NEEDS.get(choice, []))
    assert parse_config(to_plain(config)) == config
    comments = [line for line in file.read_text().splitlines() if line.startswith("#")]
    for word in ("Command:", "Time:", "Expect:"):
        assert any(word in line for line in comments), word


WRONG = {
    "search.space=[]": r"search.space=\[\]: the key is a mapping; give one, as \{name: value\}",
    "storage=a${b": r"storage='a\$\{b': the value cannot be read; write \\\$\{ for a literal \$\{",
    "data=[1]": r"data=\[1\]: give the name of one file of the group: .*digits, fashion_mnist, folder.*, table",
    "data=[digits,cifar10]": "give the name of one file of the group",
    "model={width: 3}": "give the name of one file of the group: .*vgg_small",
    "training=null": "training=null: give the name of one file of the group: digits",
    "foo=1": "unknown key foo; .*model, data, method",
    "alpha=1": r"unknown key alpha \(did you mean method.alpha\?\)",
    "batchsize=3": r"unknown key batchsize \(did you mean training.batch_size\?\)",
    "search.constraints=['accuracy >= 95']": "accuracy is a share, so 1 is all of it; write 0.95 for 95 %",
    "search.reference.cut_size=5": "cut_size is a share, so 1 is all of it; write 0.05 for 5 %",
    "training.epoch=3": r"unknown key training.epoch \(did you mean training.epochs\?\); known: .*epochs",
    "+training.epoch=3": "unknown key training.epoch ",
    "training.epochs=0": "training.epochs=0: must be a whole number of at least 1",
    "training.epochs=many": "training.epochs='many' must be of type int",
    "training.epochs=1.5": "training.epochs=1.5 must be of type int",
    "training.learning_rate=nan": "training.learning_rate=nan must be a finite number",
    "training.learning_rate=inf": "must be a finite number",
    "training.learning_rate=0": "above 0",
    "training.precision=float16": "known: auto, bfloat16, float32",
    "training.init_from=nowhere.pt": "nowhere.pt.*(no such file|cannot be read)",
    "method.alpha=-1": "method.alpha=-1.0 must be a finite number of at least 0",
    "method.beta=nan": "method.beta=nan must be a finite number",
    "data.classes=[]": "data.classes=.*two classes or more",
    "data.classes=[3]": "two classes or more",
    "data.classes=[3,12]": r"\['12'\], which the data does not have",
    "data.classes=[3,3]": "names a class twice",
    "data.limit=5": "data.limit=5 cannot be drawn",
    "data.validation_fraction=1": "data.validation_fraction=1.0",
    "data.validation_fraction=0": "a sweep chooses on validation images; set data.validation_fraction=0.2",
    "evaluation.augmented=true": "training images are not augmented; set data.crop, data.flip or data.augmentations",
    "model.init=he": "model.init='he' is not known; known: pytorch, published",
    "model=vgg17": r"model=vgg17 is not known \(did you mean model=vgg16\?\);.* known: .*resnet18",
    "model.name=vgg17": "model.name='vgg17' is not known; known: deit_small, .*vgg16, vit_small; or torchvision:<name>",
    "model.name=torchvision:resnet181": "'torchvision:resnet181' is not known; among .*resnet18",
    "model.name=no_such_package.nets:Net": "no_such_package.nets cannot be imported here.*PYTHONPATH",
    "model=own": "model.name=None is not known; known: .*package.module:Name",
    "model.depth=3": "unknown key model.depth of vgg; known: hidden, init, widths",
    "model=lenet5": "12 x 12",
    "model.widths=[16,P]": "'P'",
    "data=imagenet": r"did you mean data=imagenet100\w\?.*data/imagenet.yaml of your own is found with --config-dir",
    "data=table": "data.path=null",
    "evaluation.taus=[]": "evaluation.taus",
    "evaluation.taus=[0.5,1.5]": r"evaluation.taus.*\(0, 1\]",
    "evaluation.thresholds=[-0.1]": "evaluation.thresholds",
    "evaluation.levels=[-0.1]": r"evaluation.levels=\[-0.1\]: must be each at least 0",
    "evaluation.levels=[0.1,0.1]": "evaluation.levels.*different numbers",
    "evaluation.levels=[inf]": "finite",
    "evaluation.targets=[0.0]": r"evaluation.targets=\[0.0\]: must be each within \(0, 1\]",
    "evaluation.targets=[0.1,0.1]": "evaluation.targets.*different numbers",
    "method.compactness=large": "method.compactness='large' must be one of uniform, size, sqrt_size",
    "search.space.alpha.low=0": "search.space.alpha.low=0.0: must be above 0 on a logarithmic scale",
    "search.space.epochs={low: 1, high: 3}": "search.space.epochs takes whole numbers: add integer: true",
    "search.space.epochs={low: 1.5, high: 3, integer: true}": "between whole numbers",
    "search.baselines=[{epochs: 2.5}]": "search.space.epochs=2.5 must be of type int",
    "search.baselines=[{alpha: -1}]": "method.alpha=-1.0 must be a finite number of at least 0",
    "search.baselines=[3]": r"search.baselines\[0\]=3 must be a mapping",
    "search.space.learning_rate.zero=true": "training.learning_rate=0.0: must be a number above 0",
    "search.space.momentum={low: 0.1, high: 0.9, zero: true}": "zero=True: must be false but for log: true",
    "search.space.epochs={low: 1, high: 9, log: true, integer: true, zero: true}": "epochs.zero=True: must be false",
    "search.space.alpha={low: -1, high: 1, log: false, zero: false}": "method.alpha=-1.0 must be a finite",
    "search.space.seed={choices: [0, 18446744073709551615]}": "whole numbers of at most 2.53",
    "search.space.seed={low: 0, high: 1e17, integer: true}": "between whole numbers of at most 2.53",
    "search.seed=-1": "search.seed=-1",
    "search.early_stopping=asha": "search.early_stopping='asha' is not known; known: none, pareto_halving",
    "search.reduction=1": "search.reduction=1 .*must be at least 2",
    "search.first_rung=1": "search.first_rung=1.0: .*a fraction of the training",
    "training.batch_size=1": "every worker needs two samples for its batch norm",
    "search.space.alpha.low=20": "low must be below high",
    "search.space.delta={low: 0, high: 1}": "unknown key search.space.delta; known keys of method, training and ",
    "search.space.epochs={low: 0, high: 4, integer: true}": "training.epochs=0",
    "~search.objectives.cut_size": "two objectives or more",
    "search.objectives={flops: min, coupling: min, accuracy: max, cut_size: min, cut_overlap: min}": "four objectives",
    "search.objectives={flops: min}": r"two objectives or more; to add one to .*: search\.objectives\.flops=\.\.\.",
    "search.constraints=[fast]": "search.constraints: constraint 'fast' must read like 'accuracy >= 0.9'",
    'search.constraints=["speed >= 1"]': "'speed >= 1': metric='speed' is not known; known: accuracy, ",
    "search.constraints=accuracy": "search.constraints='accuracy' must be a list",
    "search.warm_start=[nowhere]": "search.warm_start: sweep 'nowhere' is not in the storage; it holds no sweeps",
    "training.optimizer=adam": "training.optimizer='adam' is not known; known: adamw, sgd",
    "search.space.optimizer={choices: [sgd, adam]}": "training.optimizer='adam' is not known",
    "search.space.optimizer={choices: [sgd]}": "optimizer.choices=.'sgd'.: must be two or more, all different",
    "search.space.optimizer={choices: [sgd, sgd]}": "must be two or more, all different",
    "search.space.momentum={choices: [0.5, sgd]}": "must be all numbers or all text",
    "search.space.momentum={choices: [0.5, 1.5]}": "training.momentum=1.5",
    "search.space.epochs={choices: [1, 2.5]}": "search.space.epochs=2.5 must be of type int",
    "search.space.epochs={choices: [1, 2], low: 1}": "must be choices alone; remove the other keys",
    "search.space.alpha.choices=[1,2]": "remove the other keys .~search.space.alpha.low ~search.space.alpha.high ~",
    "search.space.momentum={choices: [a, b]}": "search.space.momentum='a' must be of type float",
    "search.space.momentum={low: 0.5}": "low=0.5 high=None; give both, or choices",
    "search.baselines=[{alpha: high}]": "search.baselines: alpha='high' must be a number, as search.space.alpha has it",
    "search.objectives.speed=max": "'speed' is not known",
    "search.objectives.accuracy=up": "'up' is not known; known: max, min",
    "search.objectives.accuracy={direction: max, scale: ln}": "scale='ln' is not known; known: linear, log",
    "search.objectives.accuracy={scale: log}": "search.objectives.accuracy.direction is missing",
    "search.reference.cut_size=0": "search.reference.cut_size=0.0: must be above 1e-06.*cut_size.scale=linear",
    "search.reference.size=1": "search.reference='size' is not known; known: accuracy, ",
    "search.baselines=[{alpha: 1.0}]": "reuse_accuracy=null: .* state it.* {alpha: 0, beta: 0, gamma: 0}",
    "sweep.trials=0": "sweep.trials=0",
    "sweep.name=../x": "sweep.name='../x'",
    "training.num_workers=64": "lower training.num_workers|every worker needs two samples",
    "training.sync_batch_norm=true": "training.sync_batch_norm=true needs several workers; set training.num_workers",
    "tracking.name=mlflow": "known: none, wandb",
    "a b": "a b",
}


@pytest.mark.parametrize("override", WRONG)
def test_mistakes_are_one_line_and_exit_code_2(override, tmp_path, capsys):
    overrides = [f"storage={tmp_path}", "tracking=none", override]
    assert main(["sweep", *overrides]) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert "Traceback" not in error
    with pytest.raises(AssertionError, match=WRONG[override]):
        raise AssertionError(error)
    assert not (tmp_path / "trials").exists()  # nothing was trained


def test_cfg_prints_the_resolved_configuration(capsys):
    assert main(["sweep", "experiment=digits", "sweep.trials=7", "--cfg"]) == 0
    printed = capsys.readouterr().out
    assert "  trials: 7\n" in printed
    assert "  momentum: 0.9\n" in printed  # which no file states
    assert "${" not in printed


def test_budget_early_stopping_objectives_tracking_and_concurrency_are_no_part_of_the_identity():
    def hashed(*overrides):
        return identity_hash(identity(load_config(overrides)))

    base = hashed()
    same = [
        "search.constraints=['accuracy >= 0.9']",
        "search.warm_start=[other]",
        "sweep.trials=99",
        "sweep.concurrency=1",
        "tracking=none",
        "storage=/x",
        "search.objectives.accuracy=max",
    ]
    same += ["search.early_stopping=pareto_halving", "search.reduction=4", "search.first_rung=0.5"]
    assert {hashed(one) for one in [*same, "data.root=/x", "training.cpus_per_worker=2"]} == {base}
    different = ["training.epochs=31", "method.alpha=2", "model.hidden=[32]", "data.seed=1", "search.seed=1"]
    different += ["search.space.alpha.low=0.2", "evaluation.taus=[0.5]", "evaluation.levels=[0.1]"]
    different += ["evaluation.targets=[0.1]", "method.compactness=size"]
    different += ["training.schedule=epoch", "model.init=published", "data.normalisation=cifar10"]
    different += ["search.space.gamma.zero=true", "data.validation_fraction=0.1"]
    assert hashed("data.flip=true") != hashed("data.flip=true", "evaluation.augmented=true")
    different += ["training.optimizer=adamw", "search.space.optimizer={choices: [sgd, adamw]}"]
    assert base not in {hashed(one) for one in different}
    workers = ["training.num_workers=2", "training.gpus_per_worker=1"]
    assert hashed(*workers) != hashed(*workers, "training.sync_batch_norm=true")


def test_sync_batch_norm_is_refused_on_cpus():
    workers = ["training.sync_batch_norm=true", "training.num_workers=2"]
    remedy = "runs on GPUs only; set training.sync_batch_norm=false or training.gpus_per_worker=1"
    with pytest.raises(ConfigError, match=remedy):
        load_config(workers)
    assert load_config([*workers, "training.gpus_per_worker=1"]).training.sync_batch_norm


def test_pretrained_weights_are_identified_by_content(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (identity(load_config([f"training.init_from={tmp_path}/{name}"])) for name in "abc")
    assert a == b
    assert a != c


def test_coefficients_go_where_they_belong():
    config = load_config(["search.space.learning_rate={low: 0.01, high: 0.1}"])
    check_space(config)
    changed = config.with_coefficients({"alpha": 2.0, "learning_rate": 0.02, "hidden": [8]})
    assert changed.method.coefficients["alpha"] == 2.0
    assert changed.training.learning_rate == 0.02
    assert changed.model.options["hidden"] == [8]
    assert dataclasses.replace(changed, method=config.method, training=config.training, model=config.model) == config


def test_a_space_of_choices_and_whole_numbers():
    space = ["search.space.optimizer={choices: [sgd, adamw]}", "search.space.width={choices: [4, 8, 16]}"]
    space += ["search.space.epochs={low: 2, high: 64, integer: true, log: true}", "model=vgg16"]
    config = load_config(
        [
            *space,
            "search.baselines=[{optimizer: adamw, width: 8, epochs: 3}]",
            "search.reference.calibrated_reuse_accuracy=0.8",
        ]
    )
    check_space(config)
    assert parse_config(to_plain(config)) == config
    found = [(one["optimizer"], one["width"], one["epochs"]) for one in corners(config.search)]
    assert found[:2] == [("sgd", 4, 2), ("adamw", 16, 64)]
    assert found[2:] == [("sgd", 4, 2)] * 2 + [("sgd", 8, 2), ("adamw", 8.0, 3.0)]  # alpha's and beta's low ends too
    own = config.with_coefficients(config.search.baselines[0])
    assert (own.training.optimizer, own.training.epochs, own.model.options["width"]) == ("adamw", 3, 8)
    assert isinstance(own.model.options["width"], int)
    assert [own.coefficient(key) for key in ("optimizer", "width", "alpha", "hidden")] == ["adamw", 8, 1.0, None]


def test_a_zero_of_its_own_is_a_corner_beside_the_low_end():
    config = load_config(["search.baselines=[]", "search.reference.calibrated_reuse_accuracy=0.8"])
    check_space(config)
    assert config.search.space["alpha"].stated == {
        "low": 0.03,
        "high": 3.0,
        "log": True,
        "integer": False,
        "zero": True,
    }
    assert "zero" not in config.search.space["gamma"].stated
    lows = {"alpha": 0.0, "beta": 0.0, "gamma": 0.03, "learning_rate": 0.02, "weight_decay": 0.0001}
    highs = {"alpha": 3.0, "beta": 3.0, "gamma": 10.0, "learning_rate": 0.3, "weight_decay": 0.02}
    assert corners(config.search) == [lows, highs, {**lows, "alpha": 0.03}, {**lows, "beta": 0.03}]
    assert parse_config(to_plain(config)) == config


def test_the_default_recipe_and_the_published_coefficients():
    def recipe(*overrides):
        config = load_config(overrides)
        return config.method.stated, config.training.weight_decay, config.training.decay_steps

    published = {"alpha": 1.0, "beta": 1.0, "gamma": 0.3}
    assert recipe() == ({"alpha": 1.0, "beta": 0.3, "gamma": 3.0, "gamma_warmup": None}, 0.01, 500)
    assert recipe("method=moda_published") == (published, 0.0, None)
    assert recipe("method=standard") == ({}, 0.0, None)
    assert recipe("training=published", "method=moda_published") == (published, 0.0, None)
    assert recipe("training=fashion_mnist")[1:] == (0.01, 500)
    spaces = [load_config([f"method={name}"]).search for name in ("moda", "moda_published")]
    assert spaces[0] == spaces[1]


def test_the_published_training_holds_nothing_out_and_a_sweep_of_it_does():
    config = load_config(["training=published", "data=cifar10"])
    assert (config.data.validation_fraction, config.training.schedule) == (0.0, "epoch")
    with pytest.raises(ConfigError, match=r"a sweep chooses on validation images; set data\.validation_fraction=0\.2"):
        check_space(config)
    check_space(load_config(["experiment=cifar10_vgg16"]))


def test_a_baseline_may_set_a_whole_number_that_is_not_searched():
    config = load_config(["model=mobilenet_v1", "search.baselines=[{width: 16, alpha: 1}]"])
    own = config.with_coefficients(config.search.baselines[0])
    assert (own.model.options["width"], type(own.model.options["width"])) == (16, int)
    assert own.method.coefficients["alpha"] == 1.0


def test_a_recorded_configuration_is_overridden_key_by_key():
    config = load_config(["search.objectives.flops=min"])
    changed = override_config(config, ["search.objectives.coupling=min", "~search.objectives.flops"])
    assert list(changed.search.objectives) == ["calibrated_reuse_accuracy", "cut_size", "coupling"]
    changed = override_config(config, ["search.constraints=['accuracy >= 0.9', 'flops <= 0.5']"])
    assert changed.search.constraints == ("accuracy >= 0.9", "flops <= 0.5")
    assert override_config(config, []) == config
    with pytest.raises(ConfigError, match=r"the sweep has no search\.objectives\.accuracy; leave it out"):
        override_config(config, ["~search.objectives.accuracy"])


def test_coefficients_of_a_model_that_only_its_builder_knows():
    config = load_config(["model=own", "model.name=my_package.nets:TinyNet"])  # not imported: it may not be here
    assert config.with_coefficients({"alpha": 2.0, "depth": 3}).model.options == {"depth": 3}


def test_an_empty_space_is_refused_for_a_sweep_only():
    config = load_config(["method=standard", "search.space=null"])
    with pytest.raises(ConfigError, match="at least one coefficient"):
        check_space(config)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("{file}", "cannot be written to"),
        ("/proc/moda", "cannot be written to"),
        ("nowhere://x", "cannot be used"),
        ("{folder}/50%", "holds %"),
    ],
)
@pytest.mark.parametrize("command", ["sweep", "train"])
def test_a_storage_that_cannot_be_one(storage, message, command, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([command, f"storage='{storage.format(file=tmp_path / 'file', folder=tmp_path)}'"]) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert message in error


def test_commands_that_only_look_take_only_the_storage(tmp_path, capsys):
    for arguments in (["front", "x"], ["report", "x"], ["pull", "x", "--to", "y"]):
        assert main([*arguments, f"storage={tmp_path}", "training.epochs=3"]) == 2
        assert "training.epochs=3: this command takes storage=" in capsys.readouterr().err
        assert main([*arguments, f"storage={tmp_path}"]) == 2
        assert "'x' is not in the storage; it holds no sweeps" in capsys.readouterr().err
        assert main([*arguments, "storage=nowhere://x"]) == 2
        assert "cannot be used" in capsys.readouterr().err


def test_a_relative_storage_is_refused_inside_a_job(monkeypatch, capsys):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert main(["sweep", "storage=results"]) == 2
    assert "give an absolute path or a URI" in capsys.readouterr().err


def test_options_that_are_stated_as_they_are_anyway_are_no_part_of_what_a_sweep_is():
    """Sweeps from before there were such keys record none."""
    plain = identity(load_config(["model=lenet5", "data=fashion_mnist"]))
    stated = ["model.init=pytorch", "model.padding=2", "training.schedule=step", "data.normalisation=statistics"]
    assert identity(load_config(["model=lenet5", "data=fashion_mnist", *stated])) == plain
    assert not {"init", "padding"} & set(plain["model"])
    for section, key in (("training", "schedule"), ("data", "normalisation"), ("evaluation", "augmented")):
        assert key not in plain[section]
    assert identity(load_config(["model=lenet5", "data=fashion_mnist", "training.warmup_epochs=0"])) == plain
    warmed = identity(load_config(["model=lenet5", "data=fashion_mnist", "training.warmup_epochs=0.5"]))
    assert warmed["training"] == {**plain["training"], "warmup_epochs": 0.5}
    own = ["model=own", "model.name=my_package.nets:Net", "model.padding=2"]  # of others they may mean something else
    assert identity(load_config(own))["model"]["padding"] == 2


def test_how_fast_a_training_runs_is_no_part_of_what_a_sweep_is():
    plain = identity(load_config([]))
    fast = ["compile=kernels", "memory_format=channels_last", "optimizer_step=fused", "gpus_per_worker=0.25"]
    assert identity(load_config([f"training.{one}" for one in fast])) == plain


def test_a_sweep_from_before_there_were_levels_and_targets_is_one_without():
    """What it recorded has no such keys, neither in its configuration nor in its identity; nor one of compactness."""
    config = load_config(["evaluation.levels=[]", "evaluation.targets=[]"])
    assert not {"levels", "targets"} & identity(config)["evaluation"].keys()
    assert "compactness" not in identity(config)["method"]
    plain = to_plain(config)
    del plain["evaluation"]["levels"], plain["evaluation"]["targets"], plain["method"]["compactness"]
    assert parse_config(plain) == config


@pytest.mark.parametrize(
    "overrides",
    [
        ["search.baselines=[]", "search.reference.calibrated_reuse_accuracy=0.8"],
        ["search.baselines=[{alpha: 0, beta: 0, gamma: 0, weight_decay: 0.01}]"],
        ["search.baselines=[]", "search.objectives={accuracy: max, cut_size: min}"],
        ["method=standard", "search.baselines=[]"],  # every training is a standard one
        ["search.baselines=[]", "sweep.confirms=s"],
    ],
)
def test_a_sweep_whose_reference_point_can_be_known_is_taken(overrides):
    check_space(load_config(overrides))


def test_of_an_own_method_no_training_is_known_to_be_a_standard_one():
    own = ["method=own", "method.name=my_package.methods:Mine", "search.space={learning_rate: {low: 0.01, high: 0.1}}"]
    with pytest.raises(ConfigError, match=r"search\.reference\.calibrated_reuse_accuracy=null: .* to be one; state it"):
        check_space(load_config([*own, "search.baselines=[{learning_rate: 0.05}]"]))
    check_space(load_config([*own, "search.reference.calibrated_reuse_accuracy=0.8"]))


def test_uniform_compactness_is_no_coefficient_that_is_stated():
    assert "compactness" not in load_config([]).method.stated
    assert load_config(["method.compactness=size"]).method.stated["compactness"] == "size"
    standard = ["method.alpha=0", "method.beta=0", "method.gamma=0"]
    assert load_config(standard).method.is_standard
    assert not load_config([*standard[:2], "method.compactness=size"]).method.is_standard
