"""A project that loads modules installs little: moda_core imports torch, numpy and safetensors alone."""

import subprocess
import sys

FORBIDDEN = ("ray", "wandb", "hydra", "omegaconf", "pyarrow", "torchvision", "orchestrator", "sweeps", "deltalake")


def test_moda_core_imports_nothing_of_the_orchestrator():
    code = "import sys; from moda_core import *; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "moda_core.sets.module_file" in loaded
    assert not {name.split(".")[0] for name in loaded} & set(FORBIDDEN)
