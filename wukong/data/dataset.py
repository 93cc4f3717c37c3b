"""What a model trains on, wherever it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from wukong.data.share import Share, whole

if TYPE_CHECKING:
    from wukong.data.batch import Batch
    from wukong.data.columns import LabelTask
    from wukong.schema import InputSchema


class DataSet(Protocol):
    """Prepared data, or batches of the user's own."""

    @property
    def name(self) -> str:
        """Of the source."""

    @property
    def schema(self) -> InputSchema:
        """Its features and tasks."""

    @property
    def tasks(self) -> tuple[LabelTask, ...]:
        """What the labels say, one by one as in the schema, with base rates."""

    @property
    def has_groups(self) -> bool:
        """Whether every example belongs to a group."""

    @property
    def split_rule(self) -> str:
        """How the rows were split, in words."""

    @property
    def source_md5(self) -> Mapping[str, str]:
        """What the data are: file → md5."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Figures about the data, plain JSON values."""

    def rows(self, split: str) -> int:
        """Count the rows of `train`, `validation` or `test`."""

    def batches(
        self,
        split: str,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        pass_index: int = 0,
        first_batch: int = 0,
        share: Share = whole,
    ) -> Iterator[Batch]:
        """Yield all rows of a split once, from batch `first_batch` on; the last may be short.

        Args:
            share: what is taken of each batch.
        """
