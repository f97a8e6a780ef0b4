"""The losses of a batch spread over two real workers are those of the whole batch on one."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from moda_core import modular_losses

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
        assert float(part[0]) == pytest.approx(float(loss), abs=1e-12)
    for layer, unit in enumerate(units):
        together = torch.cat([part[1 + layer] for part in parts])
        torch.testing.assert_close(together, unit.grad, rtol=1e-10, atol=1e-12)
