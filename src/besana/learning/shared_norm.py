"""Batch normalisation over the pictures of all trainers, on any device.

So that a network sees the same means and variances however many trainers share a batch. torch's
own SyncBatchNorm needs a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from besana.learning.team import Team


class SharedNorm(nn.BatchNorm2d):
    """A batch normalisation that shares its parameters, and the batch, with the one it replaces.

    Args:
        own: What it replaces: torch's, or timm's with dropout and activation behind it.
        team: Who shares the batch.
    """

    def __init__(self, own: nn.BatchNorm2d, team: Team) -> None:
        super().__init__(own.num_features, own.eps, own.momentum, own.affine)
        self.weight, self.bias = own.weight, own.bias
        self.running_mean, self.running_var = own.running_mean, own.running_var
        self.num_batches_tracked = own.num_batches_tracked
        self.drop = getattr(own, "drop", None) or nn.Identity()
        self.act = getattr(own, "act", None) or nn.Identity()
        self._team = team

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalise, (n, channels, height, width)."""
        if not self.training:
            return self._behind(super().forward(inputs))
        outputs, mean, variance, count = _Shared.apply(
            inputs, self.weight, self.bias, self.eps, self._team
        )
        self._follow(mean, variance, count)
        return self._behind(outputs)

    @torch.no_grad()
    def _follow(self, mean: torch.Tensor, variance: torch.Tensor, count: torch.Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        share = self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            share = 1 / float(self.num_batches_tracked) if share is None else share
        self.running_mean.lerp_(mean, share or 0.0)
        # The running variance is that of the population, as torch's own is.
        self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), share or 0.0)

    def _behind(self, outputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.act(self.drop(outputs))
        return result


def share_norms(network: nn.Module, team: Team) -> None:
    """Put a shared one in place of each batch normalisation of a network."""
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(network, name, SharedNorm(child, team))
        else:
            share_norms(child, team)


_DIMENSIONS = (0, 2, 3)


class _Shared(torch.autograd.Function):
    """Normalise by the moments of all trainers' pictures (Ioffe and Szegedy, 2015).

    Moments are put together from those of each trainer (Chan, Golub and LeVeque, 1979), because
    the mean of squares less the square of the mean loses what it is about.
    """

    @staticmethod
    def forward(
        context: Any,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        eps: float,
        team: Team,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Normalise; returns also mean, variance and count of all."""
        var, own = torch.var_mean(inputs.float(), _DIMENSIONS, correction=0)
        size = torch.full_like(own, inputs.numel() // inputs.shape[1])
        counts, means, variances = team.gather(torch.stack([size, own, var])).unbind(1)
        count = counts.sum(0)
        mean = (counts * means).sum(0) / count
        variance = (counts * (variances + (means - mean) ** 2)).sum(0) / count
        outputs = functional.batch_norm(inputs, mean, variance, weight, bias, False, 0.0, eps)
        context.save_for_backward(inputs, weight, mean, torch.rsqrt(variance + eps), count)
        context.team = team
        context.mark_non_differentiable(mean, variance, count)
        return outputs, mean, variance, count

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor, *_: Any) -> tuple[Any, ...]:
        """Give the gradients of inputs, weight and bias."""
        inputs, weight, mean, scale, count = context.saved_tensors
        shape = (1, -1, 1, 1)
        normal = (inputs.float() - mean.view(shape)) * scale.view(shape)
        of_bias = gradient.float().sum(_DIMENSIONS)
        of_weight = (gradient * normal).sum(_DIMENSIONS)
        shift, tilt = context.team.sum(torch.stack([of_bias, of_weight])) / count
        of_inputs = gradient - shift.view(shape) - normal * tilt.view(shape)
        if weight is None:
            return (of_inputs * scale.view(shape)).to(inputs.dtype), None, None, None, None
        of_inputs = of_inputs * (weight * scale).view(shape)
        return of_inputs.to(inputs.dtype), of_weight, of_bias, None, None
