"""What tests of steps after training share: images, workers and checkpoints, and two workers against one."""

import copy
import dataclasses

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


@dataclasses.dataclass
class Images:
    """Random images as the protocol of training images has them."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.pixels[index]


@dataclasses.dataclass
class Workers:
    rank: int = 0
    world: int = 1
    group: object = None


class Kept:
    """A checkpoint in memory, which stops the step after some epochs as a kill would."""

    def __init__(self, most=None, state=None):
        self.most, self.state = most, state

    def save(self, state):
        self.state = copy.deepcopy(state)
        if state["done"] == self.most:
            raise KeyboardInterrupt


def state_of(parts):
    return {name: tensor.clone() for name, tensor in parts.state_dict().items()}


def check_two_workers(train, folder, *, atol):
    """Two processes train the parts that one trains.

    Args:
        train: of a module, called with ``workers``; gives the network and its parts.
        folder: where the processes meet.
        atol: how far numbers may differ.
    """
    mp.start_processes(_work, (train, folder), nprocs=2, start_method="forkserver")
    expected = state_of(train()[1])
    for rank in range(2):
        state = torch.load(folder / f"found.{rank}", weights_only=True)
        assert all(torch.allclose(state[name], tensor, atol=atol) for name, tensor in expected.items())


def _work(rank, train, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    _, parts = train(workers=Workers(rank, 2, dist.group.WORLD))
    torch.save(state_of(parts), folder / f"found.{rank}")
    dist.destroy_process_group()
