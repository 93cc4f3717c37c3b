"""One batch of examples, as every model and table backend sees it.

B examples, F1 one-hot features, F2 multi-hot features, D dense features.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B examples.

    Attributes:
        one_hot_BF: int64 (B, F1), ids of the one-hot features in schema order.
        bag_values: int64 (total ids,), ids of the multi-hot features, feature-major: all of the
            first feature's examples, then the second's (the order of a KeyedJaggedTensor).
        bag_lengths_FB: int64 (F2, B), ids per example, same order.
        dense_BD: float32 (B, D).
        label_B: float32 (B,), 0 or 1.
    """

    one_hot_BF: Tensor
    bag_values: Tensor
    bag_lengths_FB: Tensor
    dense_BD: Tensor
    label_B: Tensor

    def __len__(self) -> int:
        return len(self.label_B)
