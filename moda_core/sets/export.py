"""A composed module as one file for other runtimes: ONNX (``.onnx``) and ``torch.export`` (``.pt2``).

The file takes preprocessed images (B, ch, H, W) in float32, any number at once, and gives logits (B, classes). Its
metadata hold ``class_names`` and ``preprocessing`` (shape, mean, std) as JSON. What was written is run, and kept only
if it says what the module says.
"""

import importlib.util
import io
import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from moda_core.cutting import LARGEST_DIFFERENCE, relative_difference
from moda_core.errors import ModuleSetError
from moda_core.placing import place_new_file
from moda_core.sets.module_file import Modules

Run = Callable[[Tensor], Tensor]
CHECKED = (2, 5)  # images at once: the first is what the file is traced with
NEEDED = "pip install 'moda-core[export]'"


def export_modules(module: Modules, path: str | os.PathLike[str]) -> float:
    """Write a composed module to a file; the ending of its name selects the format.

    Args:
        module: from :func:`load_modules`.
        path: a new file, ``.onnx`` or ``.pt2``. Writing ONNX needs onnx, onnxscript and onnxruntime.

    Returns:
        The largest difference between the file's logits and the module's on random images, as a share of the largest.

    Raises:
        ModuleSetError: a module whose logits are not finite numbers, or a file that somebody else put there in the
            meantime; it stays.
        ValueError: as :func:`check_export_path`, or logits that differ by more than 1e-4.
    """
    file = check_export_path(path)
    recipe = module.manifest["preprocessing"]
    generator = torch.Generator().manual_seed(0)
    batches = [
        module.preprocess(torch.randint(256, (count, *recipe["shape"]), generator=generator, dtype=torch.uint8))
        for count in CHECKED
    ]
    metadata = {"class_names": json.dumps(module.class_names), "preprocessing": json.dumps(recipe)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the exporter about its own parts
        program = torch.export.export(module, (batches[0],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    with tempfile.TemporaryDirectory(prefix=".moda-", suffix=".part", dir=file.absolute().parent) as scratch:
        part = Path(scratch) / file.name
        run = FORMATS[file.suffix](program, metadata, part)
        with torch.no_grad():
            difference = max(relative_difference(module(images), run(images)) for images in batches)
        if not math.isfinite(difference):
            raise ModuleSetError("the module gives logits that are not finite numbers; it is not exported")
        if difference > LARGEST_DIFFERENCE:
            raise ValueError(
                f"{file}: its logits differ from the module's by {difference:.2e} of the largest; not kept"
            )
        try:
            place_new_file(part, file)
        except FileExistsError as error:  # somebody else's, in the meantime
            raise ModuleSetError(f"{file} is there already; choose another name") from error
    return difference


def check_export_path(path: str | os.PathLike[str]) -> Path:
    """Refuse a file name that :func:`export_modules` cannot write.

    Raises:
        ValueError: another ending, a file that is there, a folder that is not or cannot be written, or a package that
            is missing.
    """
    file = Path(path)
    if file.suffix not in FORMATS:
        raise ValueError(f"{file}: the ending must be one of {', '.join(FORMATS)}")
    if file.exists():
        raise ValueError(f"{file} is there already; choose another name")
    folder = file.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"{file}: {folder} is not a folder that can be written to")
    needed = ("onnx", "onnxscript", "onnxruntime") if file.suffix == ".onnx" else ()
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise ValueError(f"{file}: writing ONNX needs {', '.join(missing)}: {NEEDED}")
    return file


def _write_onnx(program: torch.export.ExportedProgram, metadata: dict[str, str], file: Path) -> Run:
    import onnxruntime  # of an extra, as onnx and onnxscript

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(
            program, dynamo=True, input_names=["images"], output_names=["logits"], verbose=False
        )
    assert exported is not None
    exported.model.metadata_props.update(metadata)
    exported.save(file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _write_pt2(program: torch.export.ExportedProgram, metadata: dict[str, str], file: Path) -> Run:
    written = io.BytesIO()
    torch.export.save(program, written, extra_files=metadata)
    file.write_bytes(written.getvalue())
    network: Run = torch.export.load(io.BytesIO(written.getvalue())).module()
    return network


FORMATS: dict[str, Callable[[torch.export.ExportedProgram, dict[str, str], Path], Run]] = {
    ".onnx": _write_onnx,
    ".pt2": _write_pt2,
}
