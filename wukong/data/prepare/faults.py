"""Malformed rows: the first one stops, unless so many may be left out. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from codesign.errors import DataError

# Malformed rows that are listed; all of them are counted.
LISTED = 100


@dataclass(kw_only=True)
class Faults:
    """Counts the malformed rows of one reading.

    Attributes:
        allowed: rows that may be left out; one more stops.
    """

    allowed: int = 0
    count: int = 0
    listed: list[str] = field(default_factory=list)

    def add(self, what: str, *, where: str, hint: str = "") -> None:
        """Take note of a malformed row.

        Raises:
            DataError: where it is one more than may be left out.
        """
        self.count += 1
        if self.count > self.allowed:
            if self.allowed:
                what += f" (malformed row {self.count:,}; {self.allowed:,} may be left out)"
            raise DataError(what, where=where, hint=hint)
        if len(self.listed) < LISTED:
            self.listed.append(f"{where}: {what}")

    def facts(self) -> dict[str, Any]:
        """Return the count and the list as plain values."""
        return {"count": self.count, "first": self.listed}
