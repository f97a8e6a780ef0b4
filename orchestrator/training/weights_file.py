"""Files of weights from elsewhere: what torch and safetensors read of them without running code."""

import os
import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from orchestrator.errors import ConfigError

# What reading bytes that are not weights can raise, besides the formats' own errors.
UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
ZIP_START = b"PK\x03\x04"
LFS_START = b"version h"  # ttps://git-lfs.github.com
LARGEST_RATIO = 16  # of what a zip file holds to its own size; torch does not compress
REASON_LENGTH = 160
REMEDY = "where you trust it, save its weights alone: torch.save(network.state_dict(), 'weights.pt')"
NEEDS_CODE = re.compile(r"GLOBAL ([\w.]+)")


def read_weights_file(path: str, where: str) -> Any:
    """What a file of weights holds: tensors, in whatever mappings they were saved.

    Args:
        path: the file.
        where: what to call it in an error: ``key=path``.

    Raises:
        ConfigError: no such file, or one that cannot be read without running code.
    """
    file = Path(os.path.expanduser(path))
    if os.path.isdir(file):
        raise ConfigError(f"{where} is a folder; name the file of weights in it")
    if not os.path.isfile(file):  # also where a name is too long to be one
        raise ConfigError(f"{where}: there is no such file")
    try:
        return _read(file)
    except (safetensors.SafetensorError, pickle.UnpicklingError, zipfile.BadZipFile, *UNREADABLE) as error:
        raise ConfigError(f"{where} {_why(error)}") from error


def _read(file: Path) -> Any:
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(9)
    if not start:
        raise ValueError("it is empty")
    if start == LFS_START:
        raise ValueError("it is a pointer of Git LFS; `git lfs pull` brings the weights")
    if start.startswith(ZIP_START):
        with zipfile.ZipFile(file) as archive:
            claimed = sum(record.file_size for record in archive.infolist())
        if claimed > LARGEST_RATIO * size:
            raise ValueError(f"its {size} bytes claim to hold {claimed}")
    elif file.suffix == ".safetensors" or (start[8:] == b"{" and int.from_bytes(start[:8], "little") < size):
        return safetensors.torch.load_file(file)
    with warnings.catch_warnings(action="ignore"):
        return torch.load(file, map_location="cpu", weights_only=True)


def _why(error: Exception) -> str:
    text = str(error)
    if named := NEEDS_CODE.search(text):
        return f"holds a {named[1]}, which only code could rebuild, so nothing of it is read; {REMEDY}"
    if "Cannot use ``weights_only=True``" in text:
        kind = "a TorchScript archive" if "TorchScript" in text else "of torch's old tar format"
        return f"is {kind}, which may hold code, so nothing of it is read; {REMEDY}"
    reason = " ".join(text.rpartition("WeightsUnpickler error: ")[2].split())[:REASON_LENGTH] or type(error).__name__
    remedy = f"; {REMEDY}" if isinstance(error, pickle.UnpicklingError) else ""
    return f"is neither a safetensors file nor a state dict: {reason}{remedy}"
