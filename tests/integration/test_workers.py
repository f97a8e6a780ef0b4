"""Two real workers give the losses, the gradients and the training that one gives on the whole batch."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from moda_core import build_model, modular_losses
from moda_core.methods import Moda
from orchestrator.data import ImageSet
from orchestrator.sections import TrainingConfig
from orchestrator.training import Workers, train

WEIGHTS = (1.0, 0.7, 0.3)


def batch():
    generator = torch.Generator().manual_seed(5)
    units = [torch.randn(9, width, generator=generator, dtype=torch.float64).relu() for width in (4, 7)]
    return units, torch.tensor([0, 1, 2, 0, 1, 0, 0, 2, 3])


def total(losses):
    return sum(weight * term for weight, term in zip(WEIGHTS, losses, strict=True))


def worker(rank, store, results):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    units, labels = batch()
    own = slice(0, 6) if rank == 0 else slice(6, 9)  # uneven
    mine = [unit[own].clone().requires_grad_() for unit in units]
    loss = total(modular_losses(mine, labels[own], num_classes=5, group=dist.group.WORLD))
    loss.backward()
    torch.save([loss.detach(), *(unit.grad for unit in mine)], f"{results}/{rank}.pt")
    dist.destroy_process_group()


def test_two_workers_give_the_loss_and_gradient_of_the_whole_batch(tmp_path):
    mp.spawn(worker, args=(str(tmp_path / "store"), str(tmp_path)), nprocs=2)
    units, labels = batch()
    units = [unit.requires_grad_() for unit in units]
    loss = total(modular_losses(units, labels, num_classes=5))
    loss.backward()
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for part in parts:
        assert float(part[0]) == pytest.approx(float(loss.detach()), abs=1e-12)
    for layer, unit in enumerate(units):
        together = torch.cat([part[1 + layer] for part in parts])
        torch.testing.assert_close(together, unit.grad, rtol=1e-10, atol=1e-12)


def training(workers):
    """A network without batch norm, since that has statistics of its own on every worker."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (53, 1, 12, 12), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 3, (53,), generator=generator)
    torch.manual_seed(0)
    network = build_model("lenet5", in_channels=1, image_size=12, num_classes=3).double()
    config = TrainingConfig(epochs=3, batch_size=16, learning_rate=0.02, num_workers=workers.world)
    data = Double(images, labels, (0.5,), (0.3,))
    epochs = train(network, data, config, Moda(1.0, 1.0, 0.3), num_classes=3, crop=1, flip=True, workers=workers)
    rows = [epoch.row for epoch in epochs]
    return rows, [parameter.detach() for parameter in network.parameters()]


class Double(ImageSet):
    def normalise(self, images):
        return super().normalise(images).double()


def trainer(rank, store, results):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.save(training(Workers(rank, 2)), f"{results}/trained-{rank}.pt")
    dist.destroy_process_group()


def test_two_workers_train_the_same_network_and_tell_the_same_losses(tmp_path):
    mp.spawn(trainer, args=(str(tmp_path / "store"), str(tmp_path)), nprocs=2)
    rows, parameters = training(Workers())
    for rank in range(2):
        their_rows, theirs = torch.load(tmp_path / f"trained-{rank}.pt", weights_only=True)
        for mine, other in zip(parameters, theirs, strict=True):
            torch.testing.assert_close(other, mine, rtol=1e-6, atol=1e-7)  # the cross-entropy is float32
        for mine, other in zip(rows, their_rows, strict=True):
            assert {k: v for k, v in other.items() if k != "seconds"} == pytest.approx(
                {k: v for k, v in mine.items() if k != "seconds"}, rel=1e-5
            )
