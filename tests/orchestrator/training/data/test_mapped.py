"""Images in a mapped file give what images in memory give, to the bit, and no file is taken for what it is not."""

import dataclasses
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
import torch

from moda_core import build_model
from moda_core.methods.moda import Moda
from orchestrator.config.composing import load_config
from orchestrator.config.data_section import DataConfig
from orchestrator.errors import ConfigError, StorageFault
from orchestrator.storage.delta import DeltaStore
from orchestrator.training.batches import Steps, Workers, augmented_once, read_ahead
from orchestrator.training.data import keeping, loading
from orchestrator.training.data.loading import load_data
from orchestrator.training.data.mapped import GRACE, MappedImages
from orchestrator.training.data.pixel_file import write_pixels
from orchestrator.training.loop import read_checkpoint, train
from orchestrator.training.trial import Trial, check_trainable, run_trial
from tests.orchestrator.training.data.encoding import saved

IMAGES = 90
FITS = [
    {"resize": 12},
    {"resize": 12, "fit": "centre", "image_size": 9},
    {"resize": 13, "fit": "random", "image_size": 8},
    {"resize": 13, "fit": "random_resized", "image_size": 8},
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MODA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "moda-images"


@pytest.fixture
def encoded():
    """Photographs of odd sizes, and the class of each."""
    draw = np.random.default_rng(0)
    pixels = [draw.integers(0, 256, (13 + number % 7, 12 + number % 5, 3), dtype=np.uint8) for number in range(IMAGES)]
    return [saved(image, "PNG") for image in pixels], [f"c{number % 3}" for number in range(IMAGES)]


@pytest.fixture
def table(tmp_path, encoded):
    images, labels = encoded
    path = tmp_path / "photos.parquet"
    pq.write_table(pa.table({"image": images, "label": labels}), path, row_group_size=11)
    return DataConfig(name="table", path=str(path), resize=12)


@pytest.fixture
def folder(tmp_path, encoded):
    for number, (image, label) in enumerate(zip(*encoded, strict=True)):
        path = tmp_path / "photos" / ("test" if number % 5 == 0 else "train") / label / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    return DataConfig(name="folder", path=str(tmp_path / "photos"), resize=12)


def in_file(config):
    return dataclasses.replace(config, kept_in="file")


def the_file(cache):
    (file,) = cache.glob("*.arrow")
    return file


def check_same(mapped, data):
    assert (mapped.class_names, mapped.contents) == (data.class_names, data.contents)
    for name in ("train", "validation", "test"):
        images, own = getattr(data, name), getattr(mapped, name)
        assert isinstance(own.images, MappedImages)
        assert (own.mean, own.std, own.shape, own.seen, own.is_scaled) == (
            images.mean,
            images.std,
            images.shape,
            images.seen,
            images.is_scaled,
        )
        assert torch.equal(own.labels, images.labels)
        assert tuple(own.images.shape) == tuple(images.images.shape)
        index = torch.randperm(len(images))
        assert torch.equal(own.images[index], images.images[index])
        assert torch.equal(own[index], images[index])
        assert torch.equal(own.images[:2], images.images[:2])
        part = own.part(index[:5])
        assert torch.equal(part.images[torch.arange(5)], images.images[index[:5]])
        assert torch.equal(part.labels, images.labels[index[:5]])


@pytest.mark.parametrize("options", FITS, ids=lambda options: options.get("fit", "stretch"))
@pytest.mark.parametrize("kind", ["table", "folder"])
def test_the_same_images_as_in_memory(request, kind, options):
    config = dataclasses.replace(request.getfixturevalue(kind), **options, limit=60, test_limit=12, seed=3)
    data = load_data(dataclasses.replace(config, kept_in="memory"))
    assert isinstance(data.train.images, torch.Tensor)
    check_same(load_data(in_file(config)), data)
    check_same(load_data(in_file(config)), data)  # from the files that are there by now


def test_parts_of_any_number_of_classes_and_no_validation(table):
    config = dataclasses.replace(table, classes=("c2", "c0"), validation_fraction=0.0)
    data, mapped = load_data(config), load_data(in_file(config))
    assert len(mapped.validation) == 0
    assert mapped.validation.images[torch.arange(0)].shape == (0, 3, 12, 12)
    assert torch.equal(mapped.train[torch.arange(len(data.train))], data.train[torch.arange(len(data.train))])
    assert mapped.judged[0] == "test"


def test_batches_are_the_same_and_read_ahead(table, monkeypatch):
    monkeypatch.setattr("orchestrator.training.data.image_set.EVALUATION_BATCH", 7)
    data, mapped = load_data(table), load_data(in_file(table))
    for share in ({}, {"rank": 1, "world": 3}):
        batches = list(zip(data.train.batches(**share), mapped.train.batches(**share), strict=True))
        assert len(batches) > 2
        assert all(torch.equal(one, other) for pair in batches for one, other in zip(*pair, strict=True))


@pytest.mark.parametrize("options", FITS[1:], ids=lambda options: options["fit"])
@pytest.mark.parametrize("world", [1, 2])
def test_a_training_is_the_same_to_the_bit_and_resumed(table, configured, options, world):
    config = dataclasses.replace(table, **options)
    data, mapped = load_data(config), load_data(in_file(config))
    training = configured("training.batch_size=16", "training.epochs=3").training
    shown = [
        [list(read_ahead(part, Steps(len(part), training, Workers(rank, world), each=0), 1)) for rank in range(world)]
        for part in (data.train, mapped.train)
    ]
    for batch, other in zip(*(batches for of_rank in shown for batches in of_rank[-1:]), strict=True):
        assert torch.equal(other.stored, data.train.images[batch.mine])
    if world > 1:
        return

    def run(images, resume=None):
        torch.manual_seed(0)
        size = images.shape[1]
        network = build_model("vgg", in_channels=3, image_size=size, num_classes=3, widths=[4, "M"], hidden=[8])
        crop = 0 if images.seen else 1
        return network, train(images=images, network=network, config=training, method=Moda(), num_classes=3, crop=crop,
                              flip=True, resume=resume)  # fmt: skip

    whole, epochs = run(data.train)
    list(epochs)
    other, epochs = run(mapped.train)
    checkpoints = [epoch.checkpoint() for epoch in epochs]
    resumed, epochs = run(mapped.train, read_checkpoint(checkpoints[0], torch.device("cpu")))
    assert len(list(epochs)) == 2
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
        assert torch.equal(tensor, resumed.state_dict()[name]), name


@pytest.mark.parametrize("options", FITS, ids=lambda options: options.get("fit", "stretch"))
def test_counting_sees_the_same_parts(table, options):
    config = dataclasses.replace(table, **options)
    crop = 0 if "random" in options.get("fit", "") else 2
    once, mapped = (
        augmented_once(load_data(one).train, crop=crop, flip=True, seed=5) for one in (config, in_file(config))
    )
    assert mapped.shape == once.shape
    for batch, other in zip(once.batches(), mapped.batches(), strict=True):
        assert torch.equal(batch[0], other[0])
    index = torch.tensor([7, 3, 3])
    assert torch.equal(mapped.part(index).images[:], once.images[index])


def test_a_trial_has_the_same_rows(table, tmp_path):
    options = ["data.resize=13", "data.fit=random_resized", "data.image_size=8", "data.flip=true"]
    options += ["evaluation.augmented=true", "evaluation.taus=[0.9]", "evaluation.levels=[0.1]", "training.epochs=2"]
    found = []
    for kept_in in ("memory", "file"):
        keys = [f"data.path={table.path}", f"data.kept_in={kept_in}", f"storage={tmp_path}/{kept_in}", "tracking=none"]
        config = load_config(["data=table", "model=vgg_small", "training.batch_size=16", *keys, *options])
        trial, data = Trial("s", 0, {}, config, config.storage), load_data(config.data)
        check_trainable(config, data)
        run_trial(trial, data, report=lambda _: None)
        store = DeltaStore(config.storage)
        found.append([row for name in ("points", "epochs") for row in store.read(name, "s").to_pylist()])
        found[-1] = [{key: value for key, value in row.items() if key != "seconds"} for row in found[-1]]
    assert len(found[0]) > 3
    assert found[0] == found[1]


def test_another_node_makes_its_own_file(folder, cache, tmp_path, monkeypatch):
    data = load_data(in_file(folder))
    sent = pickle.dumps(data)
    assert len(sent) < 10_000
    index = torch.arange(len(data.train))
    wanted = data.train[index]
    monkeypatch.setenv("MODA_CACHE_DIR", str(tmp_path / "another"))
    assert torch.equal(pickle.loads(sent).train[index], wanted)  # noqa: S301
    made = {file.name for file in (tmp_path / "another" / "moda-images").glob("*.arrow")}
    assert len(made) == 1  # that of the test images is made when it is needed
    assert made < {file.name for file in cache.glob("*.arrow")}
    monkeypatch.setenv("MODA_CACHE_DIR", str(tmp_path / "third"))
    shutil.rmtree(tmp_path / "photos" / "train" / "c1")
    with pytest.raises(ConfigError, match=r"has other images there than the node where this was\s+started") as caught:
        pickle.loads(sent).train[index]  # noqa: S301
    assert str(caught.value).startswith(f"data.path={folder.path}: ")


def test_a_file_serves_every_split_of_images_that_are_decoded_alike(table, cache):
    load_data(in_file(table))
    file = the_file(cache)
    made = file.stat()
    load_data(dataclasses.replace(in_file(table), seed=1, validation_fraction=0.4))
    assert file.stat() == made
    load_data(dataclasses.replace(in_file(table), background="black"))
    load_data(dataclasses.replace(in_file(table), limit=30))
    assert len(list(cache.glob("*.arrow"))) == 3


def damage_size(file):
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)


def damage_pixel(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def damage_kind(file):
    file.write_bytes(b"junk" * (file.stat().st_size // 4))


def damage_name(file):
    """Other images of the same size under this name."""
    images = np.zeros((IMAGES, 3, 12, 12), np.uint8)
    write_pixels(file, "0" * 64, images, IMAGES, (3, 12, 12))


def damage_batches(file):
    """The right description, and fewer images than it says: compressed zeros."""
    schema = ipc.open_file(str(file)).schema
    column = pa.array([b"\0" * 432] * (IMAGES - 1) + [b"\1" * 432], schema.field(0).type)
    batch = pa.record_batch([column], schema=schema)
    with ipc.new_file(str(file), schema) as writer:
        writer.write_batch(batch)


@pytest.mark.parametrize("damage", [damage_size, damage_pixel, damage_kind, damage_name, damage_batches])
def test_a_file_that_was_changed_is_made_again(table, cache, caplog, damage):
    wanted = load_data(table)
    load_data(in_file(table))
    file = the_file(cache)
    damage(file)
    check_same(load_data(in_file(table)), wanted)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{file} is damaged, so its images are decoded again: ")
    assert "\n" not in record.getMessage()
    caplog.clear()
    check_same(load_data(in_file(table)), wanted)
    assert not caplog.records


def write_and_die(path):
    def images():
        yield from np.zeros((20, 3, 1024, 1024), np.uint8)
        os.kill(os.getpid(), signal.SIGKILL)

    write_pixels(Path(path), "0" * 64, images(), 100, (3, 1024, 1024))


def test_what_a_killed_process_leaves_is_not_taken_for_whole(table, cache):
    wanted = load_data(table)
    load_data(in_file(table))
    file = the_file(cache)
    file.unlink()
    process = multiprocessing.get_context("forkserver").Process(target=write_and_die, args=(str(file),))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (remains,) = cache.glob(".moda-*.part")
    assert remains.stat().st_size > 10**7
    check_same(load_data(in_file(table)), wanted)
    assert remains.exists()  # it might be written still
    file.unlink()
    os.utime(remains, (0, time.time() - GRACE - 60))
    check_same(load_data(in_file(table)), wanted)
    assert not remains.exists()


def load_and_hash(config, folder, barrier, results):
    os.environ["MODA_CACHE_DIR"] = folder
    barrier.wait()
    data = load_data(config)
    results.put(data.train[torch.arange(len(data.train))].sum().item())


def test_processes_that_start_together_end_with_one_file(folder, tmp_path):
    wanted = load_data(folder).train
    context = multiprocessing.get_context("forkserver")
    barrier, results = context.Barrier(2), context.Queue()
    args = (in_file(folder), str(tmp_path / "shared"), barrier, results)
    processes = [context.Process(target=load_and_hash, args=args) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert {results.get(), results.get()} == {wanted[torch.arange(len(wanted))].sum().item()}
    names = sorted(file.suffix for file in (tmp_path / "shared" / "moda-images").iterdir())
    assert names == [".arrow", ".arrow", ".lock", ".lock"]  # of training and of test images


def test_a_disk_that_is_full_is_one_line(table, cache):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(StorageFault) as caught:
            load_data(in_file(table))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, previous)
    message = str(caught.value)
    assert message.startswith(f"data.kept_in=file: {cache} cannot keep 0.0 MB of decoded images: ")
    assert message.endswith("File too large; set MODA_CACHE_DIR to a folder with more room, or data.kept_in=memory")
    assert [file.suffix for file in cache.iterdir()] == [".lock"]


def test_a_disk_without_enough_room_is_refused_before(table, cache, tmp_path):
    images = load_data(in_file(table)).train.images
    free = shutil.disk_usage(tmp_path).free
    rows = np.zeros(free // 10**8, np.int64)
    huge = dataclasses.replace(images.decoded, rows=rows, shape=(3, 10_000, 10_000))
    with pytest.raises(StorageFault, match=r"^data\.kept_in=file: .* GB free, and the decoded images take [0-9.]+ GB;"):
        _ = huge.file
    assert len(list(cache.glob("*.arrow"))) == 1


def test_a_folder_that_cannot_be_written_is_one_line(table, tmp_path, monkeypatch):
    (tmp_path / "not a folder").write_text("")
    monkeypatch.setenv("MODA_CACHE_DIR", str(tmp_path / "not a folder"))
    with pytest.raises(StorageFault, match=r"^data\.kept_in=file: .* cannot keep .*; set MODA_CACHE_DIR to"):
        load_data(in_file(table))


def test_an_image_that_cannot_be_read_leaves_nothing(folder, cache):
    broken = Path(folder.path) / "train" / "c1" / "91.png"
    broken.write_bytes(b"junk")
    with pytest.raises(ConfigError, match=r"^data\.path: 'c1/91\.png' is not a readable image: it begins with b'junk'"):
        load_data(in_file(folder))
    assert not list(cache.glob("*.arrow"))
    assert not list(cache.glob(".moda*"))


@pytest.mark.parametrize(("memory", "is_mapped"), [(4 * IMAGES * 432, False), (4 * IMAGES * 432 - 4, True)])
def test_auto_keeps_images_in_a_file_above_a_quarter_of_memory(table, monkeypatch, memory, is_mapped):
    monkeypatch.setattr(keeping, "memory_here", lambda: memory)
    data = load_data(table)
    assert isinstance(data.train.images, MappedImages) == is_mapped
    assert isinstance(load_data(dataclasses.replace(table, kept_in="memory")).train.images, torch.Tensor)


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_memory_is_what_a_container_may_use(tmp_path, monkeypatch, name):
    whole = keeping.memory_here()
    assert 2**28 < whole < 2**50
    monkeypatch.setattr(keeping, "CGROUP", tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("1000000\n")
    assert keeping.memory_here() == 1_000_000
    (tmp_path / name).write_text("max\n")
    assert keeping.memory_here() >= whole


def test_data_sets_that_are_small_are_not_kept_in_a_file(configured):
    with pytest.raises(ConfigError, match=r"^data\.kept_in=file is for data=folder and data=table; images of digits"):
        configured("data.kept_in=file")


def test_large_images_have_the_same_statistics(table, monkeypatch):
    monkeypatch.setattr(loading, "LARGE", 0)
    data, mapped = load_data(table).train, load_data(in_file(table)).train
    assert (mapped.mean, mapped.std) == (data.mean, data.std)


def peak(kind="VmHWM"):
    """Bytes of memory that this process has had since they were last forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5")
    return peak("VmRSS")


def test_a_file_is_written_in_little_memory(tmp_path):
    image, count = np.ones((3, 256, 256), np.uint8), 1500  # 295 MB
    before = forget_peak()
    write_pixels(tmp_path / "file.arrow", "0" * 64, (image for _ in range(count)), count, image.shape)
    assert (tmp_path / "file.arrow").stat().st_size > count * image.nbytes
    assert peak() - before < 60e6


@pytest.mark.parametrize("kind", ["table", "folder"])
def test_loading_takes_at_most_twice_the_memory_of_the_images(tmp_path, kind):
    draw, count = np.random.default_rng(0), 1500
    images = [saved(draw.integers(0, 256, (6, 6, 3), dtype=np.uint8), "PNG") for _ in range(10)]
    if kind == "table":
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"image": images * (count // 10), "label": list(range(10)) * (count // 10)}), path)
    else:
        path = tmp_path / "photos"
        for number in range(count):
            (path / f"c{number % 10}").mkdir(parents=True, exist_ok=True)
            (path / f"c{number % 10}" / f"{number}.png").write_bytes(images[number % 10])
    config = DataConfig(name=kind, path=str(path), resize=112)
    load_data(dataclasses.replace(config, limit=100))  # what is imported and made once
    before = forget_peak()
    data = load_data(config)
    size = sum(part.images.nbytes for part in (data.train, data.validation, data.test))
    assert size == count * 3 * 112**2
    assert size / 2 < peak() - before < 2 * size + 40e6  # what allocators keep of this and of tests before
