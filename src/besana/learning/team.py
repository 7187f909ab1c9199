"""A team: trainers that learn one network together, and what they send each other.

Trainer and rank: rank 0 is the one that writes checkpoints and tells how it goes. Who starts the
processes says who they are in the environment, as torchrun does.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist

# A trainer that died closes its connections at once; one that is stopped or slow is found by its
# silence, in `launch`. So nobody gives up while another one embeds or writes a large checkpoint.
_PATIENCE = dt.timedelta(hours=24)


class Team:
    """All trainers, as one of them sees it; alone, nothing is sent.

    Attributes:
        rank: Which trainer this is, from 0.
        ranks: How many there are.
        sent_bytes: What this trainer sent so far, by the algorithms that send least: a sum takes
            2 (n - 1) / n of its size from each, a gathering n - 1 times its size, a broadcast
            n - 1 times its size from its source (Thakur, Rabenseifner and Gropp, 2005).
        messages: How many such exchanges there were.
        device: Where this trainer computes; empty when alone.
        neighbours: How many of the trainers share this machine, itself included.
    """

    def __init__(
        self, rank: int = 0, ranks: int = 1, device: str = "", neighbours: int = 1
    ) -> None:
        self.rank, self.ranks = rank, ranks
        self.device, self.neighbours = device, neighbours
        self.sent_bytes = 0.0
        self.messages = 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Add up a tensor over all trainers, in place; all of them get the same bits."""
        if self.ranks > 1:
            self.count_sum(tensor)
            dist.all_reduce(tensor)
        return tensor

    def start_sum(self, tensor: torch.Tensor) -> Any:
        """Begin to add up; the future's value is a list with the tensor."""
        self.count_sum(tensor)
        work: Any = dist.all_reduce(tensor, async_op=True)
        return work.get_future()

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """Give every trainer's tensor to every trainer, (ranks, ...)."""
        if self.ranks == 1:
            return tensor[None]
        self._count(tensor, self.ranks - 1)
        gathered = tensor.new_empty((self.ranks * tensor.numel(),))
        dist.all_gather_into_tensor(gathered, tensor.contiguous().view(-1))
        return gathered.view(self.ranks, *tensor.shape)

    def start_broadcast(self, tensor: torch.Tensor, source: int) -> Any:
        """Begin to give a trainer's tensor to all; returns what to wait for, None when alone."""
        if self.ranks == 1:
            return None
        if source == self.rank:
            self._count(tensor, self.ranks - 1)
        return dist.broadcast(tensor, source, async_op=True)

    def agrees(self, wish: bool, device: torch.device) -> bool:
        """Tell whether any trainer wishes it; the answer is the same everywhere."""
        if self.ranks == 1:
            return wish
        return bool(self.sum(torch.tensor([float(wish)], device=device)).item())

    def share(self, value: Any = None) -> Any:
        """Give rank 0's object to all."""
        values = [value]
        dist.broadcast_object_list(values, 0)
        return values[0]

    def count_sum(self, tensor: torch.Tensor) -> None:
        """Count what a sum of this tensor sends."""
        self._count(tensor, 2 * (self.ranks - 1) / self.ranks)

    def _count(self, tensor: torch.Tensor, times: float) -> None:
        self.sent_bytes += tensor.numel() * tensor.element_size() * times
        self.messages += 1


@contextlib.contextmanager
def joined(device: str) -> Iterator[Team]:
    """Join the team that the environment names: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT.

    Args:
        device: `cpu` or `cuda`.
    """
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
    backend = "gloo"
    if device == "cuda":
        gpus = torch.cuda.device_count()
        # NCCL refuses two trainers on one GPU.
        backend = "nccl" if neighbours <= gpus else "gloo"
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', rank)) % gpus}"
        torch.cuda.set_device(device)
    dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield Team(rank, ranks, device, neighbours)
    finally:
        gc.collect()  # DDP refers to itself, and to the group whose threads are to end here
        dist.destroy_process_group()
