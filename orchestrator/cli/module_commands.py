"""The commands that bring modules and use them: `pull`, `classify`, `measure`, `export` and `replace`."""

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING

from orchestrator.cli.asked import Asked
from orchestrator.cli.opened import opened_sweep
from orchestrator.cli.output import Output, row_format
from orchestrator.errors import ConfigError
from orchestrator.storage import check_path

if TYPE_CHECKING:
    from orchestrator.modules import Pulled


def pull(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    from orchestrator import api
    from orchestrator.modules import SweepPoint, parse_reference

    reference = parse_reference(options.reference)
    if not isinstance(reference, SweepPoint):
        pulled = api.pull(options.reference, options.to, *options.overrides, classes=options.classes)
        _say_pulled(pulled, options.reference, output)
        return
    point = opened_sweep(asked, options, reference.sweep_id).point(reference.point)
    pulled = point.pull(options.to, classes=options.classes)
    _say_pulled(pulled, f"trial {point.recorded.trial.number}, {point.choice}", output)


def _say_pulled(pulled: "Pulled", what: str, output: Output) -> None:
    output.give(
        {
            "folder": str(pulled.folder),
            "classes": pulled.class_names,
            "bytes": pulled.bytes,
            "downloaded": pulled.downloaded,
            "manifest": pulled.manifest,
        }
    )
    names = pulled.class_names
    facts = [what, f"{len(names)} class{'es' if len(names) > 1 else ''}", f"{pulled.bytes / 1024:.0f} KiB"]
    facts += [f"{pulled.downloaded / 1024:.0f} KiB downloaded"] if pulled.downloaded else []
    facts += [
        f"its logits differ from the masked network's by {pulled.manifest['cut_masked_difference']:.1e} of the largest"
    ]
    wanted = ", ".join(map(repr, names[:2]))
    output.say(f"{pulled.folder}: {', '.join(facts)}")
    output.hint(f"to use it: moda_core.load_modules({str(pulled.folder)!r}, classes=[{wanted}])")


def classify(asked: Asked, options: argparse.Namespace, output: Output) -> int:
    from orchestrator.modules import classify_files
    from orchestrator.views import render_rows

    classified = classify_files(
        options.folder, options.images, classes=options.classes, may_reject=options.none_of_these
    )
    sys.stdout.buffer.write(render_rows(classified.rows, row_format(options, output)))
    sys.stdout.buffer.flush()
    for line in classified.unreadable:
        print(line, file=sys.stderr)
    return 1 if classified.unreadable else 0


def measure(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    import torch

    from orchestrator.modules import measure_modules
    from orchestrator.views import costs_table

    measured = measure_modules(options.folder, classes=options.classes, batches=options.batch, device=options.device)
    costs, threads = [dataclasses.asdict(cost) for cost in measured], torch.get_num_threads()
    output.show(costs_table(costs))
    rounds = ", ".join(f"{count} of {size}" for size, count in measured[0].rounds.items())
    output.hint(
        f"on {options.device} with {threads} {'thread' if threads == 1 else 'threads'}, float32; medians of rounds in"
        f" which every network computed a batch: {rounds}"
    )
    output.give({"device": options.device, "threads": threads, "networks": costs})


def export(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    from moda_core import export_modules, load_modules
    from moda_core.sets import check_export_path

    check_path(options.to)
    try:
        check_export_path(options.to)
    except ValueError as error:
        raise ConfigError(f"--to {error}") from error
    module = load_modules(options.folder, options.classes)
    difference = export_modules(module, options.to)
    output.give({"file": options.to, "classes": list(module.class_names), "largest_difference": difference})
    output.say(
        f"{options.to}: takes preprocessed images, returns the logits of {', '.join(map(repr, module.class_names))};"
        f" they differ from the module's by {difference:.1e} of the largest",
    )


def replace(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    from orchestrator.modules import Request, replace_from_sets
    from orchestrator.views import replacement_table, replacement_verdict

    request = Request(
        options.weak, options.strong, options.class_name, epochs=options.epochs, seed=options.seed, to=options.to
    )
    replacement = replace_from_sets(request, asked.config, options.overrides)
    title = f"class {request.class_name} of {request.weak} from {request.strong}, on test"
    output.show(replacement_table(replacement.accuracy, class_name=request.class_name, title=title))
    lines = [
        replacement_verdict(replacement.accuracy, class_name=request.class_name),
        "control: the added layer on the weak network's own logits; others: the mean accuracy of the other classes",
        f"the layer was trained on {replacement.training_images} images of {replacement.data.name} for {request.epochs}"
        f" epoch{'s' if request.epochs > 1 else ''}, without augmentation",
        *(f"note: {note}" for note in replacement.notes),
    ]
    if request.to is not None:
        lines.append(f"to use it: moda_core.load_replaced({request.to!r}), or moda classify {request.to} photo.jpg")
    output.hint(*lines)
    output.give(
        {
            "class": request.class_name,
            "data": replacement.data.name,
            "training_images": replacement.training_images,
            "accuracy": dataclasses.asdict(replacement.accuracy),
            "notes": list(replacement.notes),
        }
    )
