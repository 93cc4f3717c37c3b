"""What other processes ask of a study's loop: one file a request, obeyed once, in order.

The loop turns a request into an event and then removes its file. The event holds the request's id,
so a loop that is killed between the two does not obey it again.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from codesign.errors import StudyError
from codesign.study.folder import TEMPORARY, StudyFolder, claim_name
from codesign.study.lock import Owner, owner_of

Asked = Literal["stop", "stop now", "cancel", "extend"]
ASKED: tuple[Asked, ...] = ("stop", "stop now", "cancel", "extend")
REFUSED = ".refused"


@dataclass(frozen=True, kw_only=True)
class Request:
    """Something to be done by the loop.

    Attributes:
        ask: `stop`: start no more trials; `stop now`: do not wait for those that run, either;
            `cancel` the trials of some numbers; `extend` the search.
        trials: numbers of trials to cancel, each ≥ 0.
        total: designs to search in all, > 0, as `search.trials`; for `extend`.
    """

    ask: Asked
    trials: tuple[int, ...] = ()
    total: int = 0
    id: str = ""

    @property
    def effect(self) -> str:
        """What it makes the loop do, for people."""
        match self.ask:
            case "stop":
                return "no trial starts any more; those that run end first"
            case "stop now":
                return "ending the trials that run, which run again when the study continues"
            case "cancel":
                trials = ", ".join(map(str, self.trials))
                return f"trials {trials} are cancelled, where they had not ended"
            case "extend":
                return f"{self.total} designs are searched in all"

    @classmethod
    def from_json(cls, found: Any) -> Request:
        """Rebuild a request.

        Raises:
            ValueError: says what is wrong with it.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(found, Mapping) or set(found) != names:
            raise ValueError(f"must be an object of {', '.join(sorted(names))}")
        trials, total = found["trials"], found["total"]
        numbers = [*trials, total] if isinstance(trials, list) else [None]
        if found["ask"] not in ASKED:
            raise ValueError(f"ask is {found['ask']!r}; must be one of {', '.join(ASKED)}")
        if any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError(f"trials is {trials!r} and total {total!r}; must be numbers ≥ 0")
        if not isinstance(found["id"], str) or not found["id"]:
            raise ValueError("id must be a text")
        return cls(ask=found["ask"], trials=tuple(trials), total=total, id=found["id"])


def send(folder: StudyFolder, request: Request) -> Owner:
    """Leave a request for the loop of a study; it is obeyed within seconds.

    Returns:
        The process that will obey.

    Raises:
        StudyError: no loop runs, or the file cannot be written.
    """
    owner, life = owner_of(folder.path)
    if owner is None or life != "alive":
        raise StudyError(
            "is not being run, so nobody can be asked" if owner is None else
            f"was last run by {owner}, which cannot be seen to live",
            where=str(folder.path),
            hint="`codesign optimize` continues a study; with --set search.trials=N it is longer",
        )  # fmt: skip
    text = json.dumps({**asdict(request), "id": uuid.uuid4().hex}) + "\n"
    try:
        folder.requests.mkdir(exist_ok=True)
        while not _left(folder.requests, text):
            continue
    except OSError as error:
        raise StudyError(
            f"cannot be written: {error.strerror}", where=str(folder.requests)
        ) from error
    return owner


def received(folder: StudyFolder, *, say: Callable[[str], None]) -> Iterator[tuple[Path, Request]]:
    """Yield the requests that wait, in order, each with its file, which the caller removes.

    A file that is no request is put aside, and a line about it said.
    """
    for path in _files(folder.requests):
        try:
            yield path, Request.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError) as error:
            kept = path.replace(path.with_suffix(REFUSED))
            say(f"{kept}: is no request: {error}")


def _left(requests: Path, text: str) -> bool:
    """Write a request under the next free number; False where another took it meanwhile."""
    with tempfile.NamedTemporaryFile("w", dir=requests, suffix=TEMPORARY) as file:
        file.write(text)
        file.flush()
        written = Path(file.name)
        written.chmod(0o644)
        taken = [int(path.stem) for path in _files(requests) if path.stem.isdigit()]
        number = max(taken, default=0) + 1
        return claim_name(written, requests / f"{number:06d}.json")


def _files(requests: Path) -> Sequence[Path]:
    found = requests.glob("*.json") if requests.is_dir() else []
    return sorted(found, key=lambda path: (len(path.stem), path.stem))
