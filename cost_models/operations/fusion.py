"""What torch.compile makes of operations: fewer launches, and fewer tensors in memory between them.

Operations that compute little (elementwise ones and copies) become part of their neighbours. Which
of them meet depends on the compiler; the model here is the simplest that keeps bounds valid: those
of one pass are launched once together, and of the bytes that they move a share remains. N designs.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cost_models.exact import Array
from cost_models.operations.ops import OpColumns

FUSED = ("elementwise", "copy")
# Of two tensors read and one written, one in and one out are passed on between neighbours: assumed.
REMAINING_BYTES = 1 / 3


def fused(operations: Iterable[OpColumns], launches: Array) -> list[OpColumns]:
    """Return what is left of the operations of a pass, or of several alike, once compiled.

    Seconds grow with each operation and with `launches`, so what bounds these bounds the whole.

    Args:
        launches: passes that the operations are of, (N,) or (1,): what is joined is launched once
            in each.
    """
    kept: list[OpColumns] = []
    joined: dict[tuple[str, str], tuple[Array, Array]] = {}
    for op in operations:
        if op.kind not in FUSED:
            kept.append(op)
            continue
        m, size = joined.get((op.phase, op.dtype), (np.zeros(1), np.zeros(1)))
        joined[op.phase, op.dtype] = (m + op.count * op.m, size + op.count * op.bytes)
    for (phase, dtype), (m, size) in joined.items():
        share = 1 / np.maximum(launches, 1.0)
        kept.append(
            OpColumns(
                kind="elementwise",
                phase=phase,
                dtype=dtype,
                count=np.where(m > 0, np.maximum(launches, 1.0), 0.0),
                m=share * m,
                bytes=REMAINING_BYTES * share * size,
            )
        )
    return kept
