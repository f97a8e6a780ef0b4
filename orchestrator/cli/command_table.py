"""The commands: what each is called, takes and says of itself."""

import textwrap

from orchestrator.api import PLACES
from orchestrator.cli import (
    looking_commands,
    module_commands,
    record_commands,
    settings_commands,
    training_commands,
)
from orchestrator.cli.completers import complete_key, complete_point, complete_reference, complete_sweep, complete_trial
from orchestrator.cli.completion import SHELLS
from orchestrator.cli.parser import Argument, Command
from orchestrator.config import GROUPS as FILE_GROUPS
from orchestrator.config import choices_of
from orchestrator.modules import FORMS
from orchestrator.results import POINT_NAME

DESCRIPTION = "Search the coefficients of modular training, look at the Pareto front, and pull the best modules."
CHOICES = "\n".join(
    textwrap.fill(" ".join(choices_of(group)), 79, initial_indent=f"  {group + '=':<12}", subsequent_indent=" " * 14)
    for group in FILE_GROUPS
)
CONFIGURATION = f"""\
Overrides set the configuration. group=choice chooses a file:

{CHOICES}

and key=value sets a key; moda config lists all keys with their ranges. What has spaces, brackets or braces stands in
quotes. --config-dir DIR adds files of your own, such as DIR/experiment/mine.yaml.

Results are written to storage=... (default: MODA_STORAGE, else ~/moda-results). Data sets are looked for in
MODA_DATA_DIR.

Examples:
"""
STORAGE = "storage=... if it is not the default"
JUDGING = f"{STORAGE}; search.objectives.METRIC=max|min and search.constraints=[...], by which points are judged"
DATA_HERE = "data.root=... and data.path=... where the data is on this machine"
SWEEP = Argument("sweep", completer=complete_sweep, help="the sweep's id; moda list shows all")
STAGES_ASKED = Argument(
    "--stages",
    nargs="+",
    default=(),
    metavar="STAGE",
    help="refit, tuned: let points of these stages onto the front too (default: none)",
)
CFG = Argument("--cfg", action="store_true", help="print the whole configuration and stop, as moda config does")
CONFIG_DIR = Argument(
    "--config-dir", metavar="DIR", help="a folder with configuration files of your own, as Hydra has it"
)

DRY_RUN = Argument(
    "--dry-run",
    action="store_true",
    help="train nothing: say how many trainings there would be, how long they take, and what they write and upload",
)

TRAIN = Command(
    name="train",
    run=training_commands.train,
    summary="train one network and show every way to cut it: by tau and threshold, or by size",
    details=f"""\
{CONFIGURATION}\
  moda train
  moda train method=standard training.epochs=60
  moda train data=fashion_mnist data.root=/data --cfg
""",
    arguments=(CFG, CONFIG_DIR),
)
SWEEP_COMMAND = Command(
    name="sweep",
    run=training_commands.sweep,
    summary="search the coefficients on Ray; run the same command again to resume",
    details=f"""\
{CONFIGURATION}\
  moda sweep experiment=digits sweep.trials=32 storage=s3://bucket/moda
  moda sweep 'search.space.learning_rate={{low: 0.01, high: 0.2, log: true}}'
  moda sweep experiment=digits --dry-run
  moda sweep --cfg
""",
    arguments=(CFG, CONFIG_DIR, DRY_RUN),
)
DECOMPOSE = Command(
    name="decompose",
    run=training_commands.decompose,
    summary="cut and measure a network that was trained elsewhere",
    details=f"""\
{CONFIGURATION}\
  moda decompose weights.safetensors model=vgg_small data=digits
""",
    arguments=(
        Argument("checkpoint", help="safetensors or a PyTorch state dict; set its model= and data= as well"),
        CFG,
        CONFIG_DIR,
    ),
)
CONFIRM = Command(
    name="confirm",
    run=training_commands.confirm,
    summary="train chosen points again with fresh seeds, or at full size, before you rely on them",
    details="""\
The best of many noisy points is partly luck. This command trains the coefficients of the chosen points again, with
seeds that the sweep did not use (the sweep's seed + 1000 and the following ones), measures the points on the validation
and test images, and reports how well the front held. Points with the same coefficients share their trainings. Run the
same command again to resume.

Overrides are applied to the sweep's recorded configuration, so that what was searched on little data and few epochs can
be trained at full size.

Examples:
  moda confirm mine
  moda confirm mine --points best knee --seeds 5
  moda confirm mine training.epochs=200 data.limit=null
""",
    arguments=(
        SWEEP,
        Argument(
            "--points",
            nargs="+",
            default=["front"],
            metavar="POINT",
            completer=complete_point,
            help=f"front (default), best, knee, {POINT_NAME}",
        ),
        Argument("--seeds", type=int, default=3, help="fresh trainings for each set of coefficients (default 3)"),
    ),
    overrides="keys of training, data or model, see below; storage= and tracking= as for a sweep",
)
FRONT = Command(
    name="front",
    run=looking_commands.front,
    summary="show a sweep's Pareto front",
    details="""\
Examples:
  moda front mine
  moda front mine search.objectives.flops=min 'search.constraints=["accuracy >= 0.98"]'
  moda front mine --stages tuned
""",
    arguments=(
        SWEEP,
        STAGES_ASKED,
        Argument("--all", action="store_true", help="show points below the reference point too"),
    ),
    overrides=JUDGING,
    only_looks=True,
)
REPORT = Command(
    name="report",
    run=looking_commands.report,
    summary="write a sweep's report, one self-contained HTML file",
    details="""\
Examples:
  moda report mine
  moda report mine --to page.html storage=s3://bucket/moda
  moda report mine --watch 15
""",
    arguments=(
        SWEEP,
        STAGES_ASKED,
        Argument("--to", metavar="FILE", help="the file to write (default <sweep>.html)"),
        Argument(
            "--watch",
            type=float,
            metavar="SECONDS",
            help="write it again every so many seconds until the sweep is over or Ctrl-C; an open page follows",
        ),
    ),
    overrides=JUDGING,
    only_looks=True,
)
PULL = Command(
    name="pull",
    run=module_commands.pull,
    summary="bring a module set, or some of its classes, to a local folder",
    details=f"""\
REF is one of:
{FORMS}
Every file that comes from elsewhere is checked against the set's manifest and cached by its sha256, so that pulling it
again downloads nothing. The cache is ~/.cache/moda (set MODA_CACHE_DIR to move it) and holds at most 5 GiB (set
MODA_CACHE_GIB to change that).

Examples:
  moda pull sweep:mine/best --to modules
  moda pull sweep:mine/knee --classes cat dog --to pets storage=s3://bucket/moda
  moda pull team/project/mine:best --classes cat --to cat
""",
    arguments=(
        Argument("reference", metavar="REF", completer=complete_reference, help="what to pull, see below"),
        Argument("--classes", nargs="+", metavar="NAME", help="the classes to pull (default: all)"),
        Argument("--to", metavar="DIR", required=True, help="a new folder"),
    ),
    overrides=f"for a sweep's point: {JUDGING}; {DATA_HERE}",
)
CLASSIFY = Command(
    name="classify",
    run=module_commands.classify,
    summary="classify image files with a pulled module set",
    details="""\
Images may be of any size, format and colour; they become what the network was trained on as the set records it. A row
for each image goes to standard output: its name, its class and the probability of that class among those of the
module. Images that cannot be read are named on standard error, and the exit code is then 1.

With --none-of-these an image may be of none of the module's classes: its class is empty then. How often that is right
is in the set's model_card.md.

Examples:
  moda classify modules photo.jpg
  moda classify modules photos --classes cat dog --none-of-these --format csv
""",
    arguments=(
        Argument("folder", help="a module set that moda pull made"),
        Argument("images", nargs="+", metavar="IMAGE", help="files, or folders of files"),
        Argument("--classes", nargs="+", metavar="NAME", help="the classes of the module (default: all)"),
        Argument(
            "--none-of-these",
            action="store_true",
            help="leave the class of an image empty that shows none of them",
        ),
        Argument("--format", default="table", metavar="FORM", help="table (default), csv, json or arrow"),
    ),
    overrides="this command takes none",
    accepts=(),
)
EXPORT = Command(
    name="export",
    run=module_commands.export,
    summary="write a pulled module set as one file for other runtimes: ONNX, or .pt2 of torch.export",
    details="""\
Examples:
  moda export modules --to digits.onnx
  moda export modules --classes 3 8 --to three-or-eight.pt2
""",
    arguments=(
        Argument("folder", help="a module set that moda pull made"),
        Argument("--classes", nargs="+", metavar="NAME", help="the classes, in the order of the logits (default: all)"),
        Argument("--to", metavar="FILE", required=True, help="a new file that ends in .onnx or .pt2"),
    ),
    overrides="this command takes none",
    accepts=(),
)
MEASURE = Command(
    name="measure",
    run=module_commands.measure,
    summary="measure what modules cost on this machine: parameters, memory, time, beside the whole network",
    details="""\
The networks compute batches in turns, and times are medians of 5 rounds or more, for 5 seconds. Memory is what is
alive at once beside the weights. The whole network is built from the set with weights that are drawn, which changes
neither size nor speed. How many threads compute is up to OMP_NUM_THREADS.

Examples:
  moda measure modules
  moda measure modules --classes 3 8 --batch 1 256 --json
""",
    arguments=(
        Argument("folder", help="a module set that moda pull made"),
        Argument(
            "--classes",
            nargs="+",
            metavar="NAME",
            help="a module beside the others (default: of one class, the largest)",
        ),
        Argument(
            "--batch", nargs="+", type=int, default=[1, 64], metavar="N", help="images of a batch (default 1 and 64)"
        ),
        Argument("--device", default="cpu", help="cpu (default), or a GPU such as cuda"),
    ),
    overrides="this command takes none",
    accepts=(),
)
RERUN = Command(
    name="rerun",
    run=training_commands.rerun,
    summary="train a finished trial again and compare its rows; the exit code is 1 if they differ",
    details="""\
Examples:
  moda rerun mine-0003
  moda rerun mine/3 storage=s3://bucket/moda data.root=/data
""",
    arguments=(Argument("trial", completer=complete_trial, help="the trial's id, such as mine-0003, or mine/3"),),
    overrides=f"{STORAGE}; {DATA_HERE}; training.init_from=... where the initial weights are",
    accepts=("storage=", "data.root=", *PLACES, "training.init_from="),
    otherwise="everything else is as recorded",
)
REPRODUCE = Command(
    name="reproduce",
    run=training_commands.reproduce,
    summary="train what a paper has trained, and compare its numbers with those that come out",
    details="""\
RECIPE is a file of sweeps/experiment that states published numbers: paper/vgg16_cifar10 and so on for vgg16, resnet18
and mobilenet on svhn, cifar10 and cifar100, and paper/ablation_tau, ablation_alpha, ablation_beta and ablation_gamma.
What it measures is defined as published: accuracy and reuse accuracy on test, without a bias for each class, sizes and
overlaps counted from masks. Every training is recorded, so that the same command goes on where it was interrupted.

Examples:
  moda reproduce paper/vgg16_cifar10 --seeds 3 data.download=true training.gpus_per_worker=1
  moda reproduce paper/vgg16_cifar10 method=standard
  moda reproduce paper/ablation_tau data=cifar10_table model.width=16 training.epochs=20
""",
    arguments=(
        Argument("recipe", help="the recipe, such as paper/resnet18_cifar100"),
        Argument("--seeds", type=int, default=1, help="trainings of each set of coefficients (default 1)"),
        CONFIG_DIR,
    ),
    overrides="configuration overrides; those that change the recipe are named below the table",
)
QUERY = Command(
    name="query",
    run=looking_commands.query,
    summary="query a sweep's tables in SQL",
    details="""\
The views are sweeps, trials (the event log), epochs, points, rungs, modules, drivers and front; docs/tables.md lists
their columns. The SQL dialect is DuckDB's. A query sees the rows of this sweep and nothing else.

Examples:
  moda query mine "select number, event, reason from trials order by number, time"
  moda query mine "select point, reuse_accuracy, test_reuse_accuracy, cut_size from front"
  moda query mine "from points where split = 'test'" --format csv --to points.csv
""",
    arguments=(
        SWEEP,
        Argument("sql", metavar="SQL", help="one SELECT statement, in quotes"),
        Argument("--format", default="table", metavar="FORM", help="table (default), csv, json or arrow"),
        Argument("--to", metavar="FILE", help="the file to write (default: print to the terminal)"),
    ),
    overrides=STORAGE,
    accepts=("storage=",),
    otherwise="the SQL is one argument, in quotes",
    only_looks=True,
)
GC = Command(
    name="gc",
    run=record_commands.gc,
    summary="list the files that no front needs any more; --delete removes them",
    details="""\
Garbage collection. The front is that of the sweep's recorded objectives and constraints.

What stays: the module sets, weights and counts of the points on the front (with search.repeats, those of all their
trainings) and of the points of a confirmation; trials that may still continue; files that belong to no known sweep; and
every row of the tables, so that sweep, front, report, query and confirm work as before.

What is removed: module sets of other points; what trials without a point on the front have left; checkpoints of trials
that are over; and writes that were interrupted more than an hour ago. A removed point can no longer be pulled, and its
trial cannot be rerun.

If the sweep is in W&B and an API key is set, the artifact versions of points that left the front are removed as well,
unless somebody gave them an alias.

Examples:
  moda gc
  moda gc mine storage=s3://bucket/moda
  moda gc mine another --delete
""",
    arguments=(
        Argument(
            "sweeps",
            nargs="*",
            metavar="SWEEP",
            completer=complete_sweep,
            help="ids of sweeps (default: all sweeps of the storage)",
        ),
        Argument("--delete", action="store_true", help="remove the files; without this option they are only listed"),
    ),
    overrides=STORAGE,
    accepts=("storage=",),
    otherwise="a sweep is judged as it was recorded",
    only_looks=True,
)
REPLACE = Command(
    name="replace",
    run=module_commands.replace,
    summary="replace the module of a weak class with the module of another set, and measure what that gains",
    details="""\
Both sets are folders that moda pull made. The data is the one that the weak set records, unless data=... or
data.key=... change it.

A linear layer on top of the logits is trained on the training images, without augmentation; the accuracies are those on
the test images. The control is the same layer on the weak network's own logits: it shows what the layer alone gains.

Examples:
  moda replace weak strong --class 3
  moda replace weak strong --class cat --to mended data.root=/data
""",
    arguments=(
        Argument("weak", help="the folder of the set whose class is replaced"),
        Argument("strong", help="the folder of the set that provides the module"),
        Argument("--class", metavar="NAME", dest="class_name", required=True, help="the class to replace"),
        Argument("--epochs", type=int, default=5, help="epochs of the added layer (default 5)"),
        Argument("--seed", type=int, default=0, help="seed of its weights and the order of images (default 0)"),
        Argument(
            "--to", metavar="DIR", help="a new folder for the network with the class replaced (default: not kept)"
        ),
    ),
    overrides="data=... or data.key=..., see below; training.gpus_per_worker=...",
    accepts=("data=", "data.", "training.gpus_per_worker="),
)
LIST = Command(
    name="list",
    run=record_commands.list_sweeps,
    summary="list the sweeps of a storage",
    details="""\
Examples:
  moda list
  moda list storage=s3://bucket/moda --json
""",
    overrides=STORAGE,
    accepts=("storage=",),
    only_looks=True,
)
STATUS = Command(
    name="status",
    run=record_commands.status,
    summary="say how a sweep stands: trials, front, hypervolume, and why trials failed",
    details="""\
Examples:
  moda status mine
""",
    arguments=(SWEEP,),
    overrides=STORAGE,
    accepts=("storage=",),
    only_looks=True,
)
SHOW = Command(
    name="show",
    run=record_commands.show,
    summary="show a trial: its coefficients, events, losses and points",
    details="""\
Examples:
  moda show mine/3
  moda show mine-0003 storage=s3://bucket/moda
""",
    arguments=(Argument("trial", completer=complete_trial, help="the trial, such as mine/3 or mine-0003"),),
    overrides=STORAGE,
    accepts=("storage=",),
    only_looks=True,
)
COMPARE = Command(
    name="compare",
    run=record_commands.compare,
    summary="compare two sweeps: hypervolume by one reference point, what the fronts attain, and what differs",
    details="""\
Both are judged by the objectives, constraints, scales and reference point of the first one.

Examples:
  moda compare mine other
  moda compare mine other 'search.constraints=["accuracy >= 0.95"]'
""",
    arguments=(SWEEP, Argument("other", completer=complete_sweep, help="the other sweep's id")),
    overrides=JUDGING,
    only_looks=True,
)
DELETE = Command(
    name="delete",
    run=record_commands.delete,
    summary="list exactly what a sweep has left in a storage; --yes deletes it",
    details="""\
Files of its trials and module sets go, and then its rows in all tables. A sweep that another one confirms or
warm-starts from is refused, and files from which another one begins (training.init_from) are kept. After an
interruption the same command continues. W&B is not touched, nor are older versions of the tables.

Examples:
  moda delete mine
  moda delete mine another --yes
""",
    arguments=(
        Argument("sweeps", nargs="+", metavar="SWEEP", completer=complete_sweep, help="ids of sweeps"),
        Argument("--yes", action="store_true", help="delete; without this option everything is only listed"),
    ),
    overrides=STORAGE,
    accepts=("storage=",),
    only_looks=True,
)
CONFIG = Command(
    name="config",
    run=settings_commands.config,
    summary="print the whole configuration: every key with its value, meaning, unit and range",
    details=f"""\
The output is YAML. Saved as DIR/experiment/mine.yaml, it is what --config-dir DIR experiment=mine starts from.

{CONFIGURATION}\
  moda config
  moda config training data.resize
  moda config experiment=fashion_mnist method=mwt
""",
    arguments=(
        Argument("keys", nargs="*", metavar="KEY", completer=complete_key, help="sections or keys (default: all)"),
        CONFIG_DIR,
    ),
    checks_first=False,
)
DOCTOR = Command(
    name="doctor",
    run=settings_commands.doctor,
    summary="check this machine: versions, processor, GPU, Ray, W&B, storage and data, each with its remedy",
    details=f"""\
The exit code is 1 if something has to be mended before a sweep with these overrides can run.

{CONFIGURATION}\
  moda doctor
  moda doctor data=cifar10 training.gpus_per_worker=1 storage=s3://bucket/moda
""",
    arguments=(CONFIG_DIR,),
)
COMPLETION = Command(
    name="completion",
    run=settings_commands.completion,
    summary="print what bash, zsh or fish reads to complete commands, keys, sweeps and points",
    details="""\
In bash: eval "$(moda completion bash)" in ~/.bashrc. In zsh: eval "$(moda completion zsh)" in ~/.zshrc, after compinit.
In fish: moda completion fish > ~/.config/fish/completions/moda.fish

Examples:
  moda completion bash
""",
    arguments=(Argument("shell", choices=SHELLS, help="the shell"),),
    overrides="this command takes none",
    accepts=(),
    checks_first=False,
    prints_result=False,
)
GROUPS = {
    "train and search": (TRAIN, SWEEP_COMMAND, DECOMPOSE, CONFIRM, RERUN, REPRODUCE),
    "look at results": (LIST, STATUS, FRONT, SHOW, COMPARE, REPORT, QUERY),
    "use modules": (PULL, CLASSIFY, EXPORT, MEASURE, REPLACE),
    "take less space": (GC, DELETE),
    "set up": (CONFIG, DOCTOR, COMPLETION),
}
COMMANDS = {command.name: command for commands_of in GROUPS.values() for command in commands_of}
DETAILS = f"""\
{CONFIGURATION}\
  moda train method=standard training.epochs=60
  moda sweep experiment=digits sweep.trials=32 storage=s3://bucket/moda
  moda sweep 'search.space.learning_rate={{low: 0.01, high: 0.2, log: true}}'

moda <command> --help describes a command.
"""
