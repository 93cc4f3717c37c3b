"""The bytes of a text table in pieces that end where a row ends, as UTF-8 or a relative of it.

What is packed is unpacked, a byte order mark is taken off, and an encoding that does not write
ASCII as it is becomes UTF-8, so that separators, quotes and line breaks are single bytes.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from codesign.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Bytes read at a time: several times as much is in memory while a piece is worked on.
PART_BYTES = 16 << 20
# A row longer than this is taken for a quote that was left open.
ROW_BYTES = 64 << 20
OPEN_QUOTE_HINT = "look for a quote that is left open"
# The module's own limit of 128 KiB a field would refuse rows that are legal.
csv.field_size_limit(ROW_BYTES)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How rows are written.

    Attributes:
        separator: of fields, one character of ASCII.
        quote: the quoting character, or None where the format knows no quoting.
        encoding: of the file.
    """

    separator: str = ","
    quote: str | None = '"'
    encoding: str = "utf-8"

    @property
    def block_encoding(self) -> str:
        """The encoding of the pieces that `row_blocks` yields."""
        return self.encoding if keeps_ascii(self.encoding) else "utf-8"

    def for_csv(self) -> dict[str, Any]:
        """Say the same to the csv module."""
        quoting = csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE
        return {"delimiter": self.separator, "quotechar": self.quote, "quoting": quoting}


def keeps_ascii(encoding: str) -> bool:
    """Whether an encoding writes ASCII as it is.

    Raises:
        LookupError: Python has no encoding of text by this name.
        ValueError: it is a name that cannot be, or an encoding that cannot write a table.
    """
    if "a,\n".encode(encoding).removeprefix(codecs.BOM_UTF8) != b"a,\n":
        return False
    # Some encodings cannot say which byte is not theirs.
    b"\xff".decode(encoding, "surrogateescape")
    return True


def row_blocks(path: Path, dialect: Dialect) -> Iterator[tuple[int, bytes]]:
    """Yield pieces that end where a row ends, and the line each begins on.

    Raises:
        DataError: where the file cannot be read, or has a row of more than `ROW_BYTES`.
    """
    rest, line = b"", 1
    for data in _decoded(path, dialect.encoding):
        block = rest + data if rest else data
        end = _last_row_end(block, dialect)
        if len(block) - end > ROW_BYTES:
            line += block.count(b"\n", 0, end)
            raise DataError(
                f"a row of more than {ROW_BYTES:,} bytes",
                where=f"{path}:{line}",
                hint=OPEN_QUOTE_HINT,
            )
        rest = block[end:]
        if end:
            yield line, block[:end]
            line += block.count(b"\n", 0, end)
    if rest:
        yield line, rest


def lines_of(data: bytes, encoding: str) -> io.StringIO:
    """Return the lines of a piece; a byte that does not decode stands as a lone surrogate."""
    return io.StringIO(data.decode(encoding, "surrogateescape"), newline="\n")


def end_of_line(data: bytes, lines: int) -> int:
    """Return how many bytes the first `lines` lines have."""
    end = 0
    for _ in range(lines):
        end = data.find(b"\n", end) + 1 or len(data)
    return end


def _decoded(path: Path, encoding: str) -> Iterator[bytes]:
    """Yield the bytes of a file, as UTF-8 if its encoding does not keep ASCII."""
    if keeps_ascii(encoding):
        yield from _chunks(path)
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        first = True
        for data in _chunks(path):
            yield decoder.decode(data).removeprefix("\ufeff" if first else "").encode()
            first = False
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        reason = getattr(error, "reason", error)
        raise DataError(f"is not {encoding}: {reason}", where=str(path)) from error


def _chunks(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, unpacked, without the byte order mark of UTF-8."""
    first = True
    try:
        with _open(path) as file:
            while data := file.read(PART_BYTES):
                yield data.removeprefix(codecs.BOM_UTF8) if first else data
                first = False
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot be read: {reason}", where=str(path)) from error


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast("BinaryIO", gzip.open(path, "rb"))
    return path.open("rb")


def _last_row_end(block: bytes, dialect: Dialect) -> int:
    """Return how many bytes of `block` are whole rows, by the rules of quoting."""
    end = block.rfind(b"\n") + 1
    quote = dialect.quote.encode() if dialect.quote else b""
    if not quote or block.count(quote, 0, end) % 2 == 0:
        return end
    # A line break inside quotes, or a stray quote: only reading row by row can tell. The last
    # row is left for the next piece, as it may go on there.
    reader = csv.reader(lines_of(block, "latin-1"), **dialect.for_csv())
    lines = lines_before = 0
    try:
        for _ in reader:
            lines_before, lines = lines, reader.line_num
    except csv.Error:
        return end
    return end_of_line(block, lines_before)
