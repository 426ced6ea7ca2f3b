"""Numbers to learn are brought to mean 0 and deviation 1, and the network back to their own unit when it is done."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.errors import InputError

_FINEST = 1e-5  # deviation of numbers, as a share of their mean, of which 32 bits tell a hundredth


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of the training targets.

    >>> Scale(10.0, 2.0).apply(np.array([12.0]))
    array([1.])
    """

    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, targets: NDArray[Any], name: str = "label") -> "Scale":
        """The scale of the targets in the column `name`; constant ones are only shifted.

        Raises `InputError` where the network, which answers in 32 bits, could hardly tell them from their mean.
        """
        mean = float(np.mean(targets, dtype=np.float64))
        deviation = float(np.std(targets, dtype=np.float64)) if np.ptp(targets) else 0.0  # their mean may be rounded
        if 0 < deviation < abs(mean) * _FINEST:
            raise InputError(
                f"{name}: numbers must differ by more than {_FINEST:.0e} of their size, which 32 bits can tell, got "
                f"{mean:.10g} with a deviation of {deviation:.3g}; subtract the mean"
            )
        return cls(mean, deviation or 1.0)

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values as the network learns them."""
        return (values - self.mean) / self.deviation

    def restore(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values in their own unit."""
        return values.astype(np.float64) * self.deviation + self.mean

    @torch.no_grad()
    def fold_into(self, layer: nn.Linear) -> None:
        """Let the last layer answer in the targets' own unit: a linear map after a linear map is one."""
        layer.weight.mul_(self.deviation)
        layer.bias.mul_(self.deviation).add_(self.mean)
