"""Whether this machine can run a sweep: versions, processor, GPU, Ray, W&B, storage and data, each with its remedy."""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrator.config import Config
from orchestrator.errors import MISTAKES, RunError
from orchestrator.results import package_versions
from orchestrator.runs.address import cluster_address
from orchestrator.runs.capacity import KINDS, nodes_of_cluster
from orchestrator.runs.cluster import concurrent_trials, connected
from orchestrator.runs.shared_storage import SharedStorage
from orchestrator.storage import DeltaStore, Files, usable_root
from orchestrator.views import NOTED, RIGHT, WRONG, Finding

LEAST_FREE = 2**30  # bytes of a disk
SHOWN_VERSIONS = ("moda-orchestrator", "torch", "torchvision", "ray", "deltalake", "wandb")
GIBIBYTE = 2**30


def examine(config: Config) -> list[Finding]:
    """Look at everything that a sweep of a configuration needs. A Ray of this machine's own is started for it."""
    examinations: dict[str, Callable[[Config], Iterator[Finding]]] = {
        "versions": _versions,
        "processor": _processor,
        "GPU": _gpus,
        "data": _data,
        "storage": _storage,
        "W&B": _tracking,
        "Ray": _ray,
    }
    findings = []
    for what, examination in examinations.items():
        try:
            findings += list(examination(config))
        except (*MISTAKES, RunError) as error:  # whose line says what to do
            findings.append(Finding(what, WRONG, str(error)))
    return findings


def _versions(config: Config) -> Iterator[Finding]:
    versions = package_versions()
    shown = [f"{name} {versions[name]}" for name in SHOWN_VERSIONS if name in versions]
    yield Finding("versions", RIGHT, ", ".join([*shown, f"Python {platform.python_version()}"]))


def _processor(config: Config) -> Iterator[Finding]:
    import psutil
    import torch

    cores, memory = len(os.sched_getaffinity(0)), psutil.virtual_memory()
    mkldnn = torch.ops.mkldnn
    has_bfloat16 = torch.backends.mkldnn.is_available() and mkldnn._is_mkldnn_bf16_supported()
    free, total = memory.available / GIBIBYTE, memory.total / GIBIBYTE
    text = (
        f"{cores} of {os.cpu_count()} cores, {free:.1f} of {total:.1f} GiB of memory free,"
        f" {'computes' if has_bfloat16 else 'does not compute'} in bfloat16"
    )
    busy = os.getloadavg()[0]
    if busy > cores:
        yield Finding("processor", NOTED, f"{text}; load {busy:.1f}", "trainings share the cores with other programs")
        return
    yield Finding("processor", RIGHT, text)


def _gpus(config: Config) -> Iterator[Finding]:
    import torch

    count, wanted = torch.cuda.device_count(), config.training.gpus_per_worker
    names = [torch.cuda.get_device_properties(number) for number in range(count)]
    shown = ", ".join(f"{each.name} ({each.total_memory / GIBIBYTE:.0f} GiB)" for each in names)
    if wanted and not count and cluster_address() is None:
        yield Finding(
            "GPU",
            WRONG,
            f"training.gpus_per_worker={wanted:g}, and PyTorch sees no GPU",
            "install a driver and a PyTorch with CUDA, name a cluster by RAY_ADDRESS, or leave it out",
        )
    elif count and not wanted:
        yield Finding("GPU", NOTED, f"{shown}, which is not used", "add training.gpus_per_worker=1")
    else:
        yield Finding("GPU", RIGHT, shown or "none, and none is asked for")


def _data(config: Config) -> Iterator[Finding]:
    from orchestrator.training.data import load_data

    data = load_data(config.data)
    yield Finding(
        "data",
        RIGHT,
        f"{config.data.name}: {data.num_classes} classes, {len(data.train)} images to train, {len(data.validation)} for"
        f" validation, {len(data.test)} to test, {data.image_size} pixels, {data.in_channels} channels",
    )


def _storage(config: Config) -> Iterator[Finding]:
    root = usable_root(config.storage)
    store = DeltaStore(root)
    count = store.read("sweeps").num_rows
    text = f"{root} can be written to; it holds {count} {'sweep' if count == 1 else 'sweeps'}"
    local = Files(root).local
    if local is None:
        yield Finding("storage", RIGHT, text)
        return
    free = shutil.disk_usage(local if local.exists() else Path.home()).free
    text += f"; {free / GIBIBYTE:.1f} GiB of the disk are free"
    if free < LEAST_FREE:
        yield Finding("storage", NOTED, text, "make room (moda gc), or set storage=... to another disk")
        return
    yield Finding("storage", RIGHT, text)


def _tracking(config: Config) -> Iterator[Finding]:
    if config.tracking.name == "none":
        yield Finding("W&B", RIGHT, "not used (tracking=none)")
        return
    from orchestrator.tracking import has_key, quieten, tracking_mode

    quieten()
    mode = tracking_mode()
    if has_key():
        yield Finding("W&B", RIGHT, f"logged in, {mode}, project {config.tracking.project!r}")
        return
    yield Finding(
        "W&B",
        NOTED,
        f"no API key is found, so runs are {mode}",
        "wandb login, or set WANDB_API_KEY; or leave W&B out with tracking=none",
    )


def _ray(config: Config) -> Iterator[Finding]:
    address = cluster_address()
    with connected() as is_cluster:
        nodes = nodes_of_cluster()
        amounts = [f"{kind} {sum(node.total.get(kind, 0) for node in nodes):g}" for kind in KINDS]
        at_once = concurrent_trials(config)
        where = f"cluster {address}" if address else "a Ray of this machine's own starts"
        count = f"{len(nodes)} {'node' if len(nodes) == 1 else 'nodes'}"
        yield Finding("Ray", RIGHT, f"{where}: {count}, {', '.join(amounts)}; {at_once} trials at once")
        if is_cluster and len(nodes) > 1:
            yield _shared(config, len(nodes))
        elif not is_cluster:
            yield Finding("shared", RIGHT, "all trials run on this machine, which sees the storage")


def _shared(config: Config, count: int) -> Finding:
    """Whether every node sees the same storage."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    storage = SharedStorage.here(usable_root(config.storage))
    alive = [node["NodeID"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    look = ray.remote(num_cpus=0)(storage.check)
    try:
        ray.get(
            [
                look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
                for node in alive
            ]
        )
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (*MISTAKES, RunError)):
            raise error.cause from error
        raise
    return Finding("shared", RIGHT, f"all {count} nodes see the same storage")
