"""Tables in torchrec: the only package that imports it."""

from __future__ import annotations

from codesign.errors import MissingPackageError

try:
    import fbgemm_gpu  # noqa: F401
    import torchrec  # noqa: F401
except (ImportError, OSError) as error:
    raise MissingPackageError(
        f"the table backends dense and fused need torchrec, which does not load: {error}",
        hint="install torchrec with fbgemm-gpu (CUDA) or fbgemm-gpu-cpu of the matching release, "
        "or choose the table backend plain, which needs torch only",
    ) from error

from wukong.embeddings.torchrec_tables.collection import keyed_jagged
from wukong.embeddings.torchrec_tables.dense import DenseTables
from wukong.embeddings.torchrec_tables.fused import FusedTables

__all__ = ["DenseTables", "FusedTables", "keyed_jagged"]
