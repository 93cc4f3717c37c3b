"""One loop at a time: who holds a study, on any file system that has hard links.

Owners are numbered, one file each in `lock/`, and the highest number holds the study. Taking it
over is making the next number, which a file system lets one process do, however many try; it counts
only if nobody else came meanwhile, for numbers begin anew once a study is held by nobody. The owner
moves a heartbeat in its file, in place: once the study is another's, that disturbs nobody. What an
owner that was taken over still tries to record is refused by the store (see `study.store`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from codesign.errors import StudyError
from codesign.study.folder import LOCK_NAME, TEMPORARY, claim_name

BEAT_EVERY_S = 2.0
LEASE_S = 30.0
LOOK_EVERY_S = 0.1

Life = Literal["alive", "dead", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The process that holds a study.

    Attributes:
        boot_id: of the host's kernel; another one on the same host: it was started anew.
        pid_namespace: the process ids that `pid` is one of; containers have their own.
        process_start: ticks from boot to the start of the process; tells a reused `pid` apart.
        inode: of the lock file itself; a copy of the file has another.
        since: seconds since the epoch, for people.
    """

    host: str
    pid: int
    boot_id: str
    pid_namespace: str
    process_start: int | None
    inode: int = 0
    since: float = 0.0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def life(self) -> Life:
        """Whether the process lives, as far as this host can tell without waiting."""
        here = _this_process()
        if self.host != here.host:
            return "unknown"
        if self.boot_id != here.boot_id:
            return "dead"
        if self.pid_namespace != here.pid_namespace:
            return "unknown"
        return "alive" if _process_start(self.pid) == self.process_start else "dead"


@contextmanager
def hold(
    study: Path,
    *,
    steal: bool = False,
    lease_s: float = LEASE_S,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[None]:
    """Hold the study while the block runs.

    Args:
        steal: do not wait for the lease of an owner on another host.
        lease_s: an owner elsewhere whose heartbeat stood still that long counts as dead.
        say: called with a line for a person before such a heartbeat is watched.

    Raises:
        StudyError: a live process holds it, which the message names; or the folder cannot be used.
    """
    lock = study / LOCK_NAME
    try:
        lock.mkdir(parents=True, exist_ok=True)
        file, path = _take(lock, steal=steal, lease_s=lease_s, say=say)
    except OSError as error:
        raise StudyError(
            f"cannot be used as a study folder: {error.strerror}",
            where=str(study),
            hint="name another folder with --study",
        ) from error
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(file, over), daemon=True)
    beat.start()
    try:
        yield
    finally:
        over.set()
        beat.join()
        _release(file, path)


def owner_of(study: Path) -> tuple[Owner | None, Life]:
    """Say who holds a study, and whether it lives.

    Takes some seconds where only the heartbeat can tell: of an owner elsewhere, and of a lock that
    was copied with its study, which holds nothing.
    """
    found = _highest(study / LOCK_NAME)
    owner = None if found is None else _read(found)
    if found is None or owner is None:
        return None, "dead"
    life = _life(found, owner)
    if life == "unknown" and _moves(found, 2 * BEAT_EVERY_S):
        life = "alive"
    if life == "unknown" and _is_copy(found):
        return None, "dead"
    return owner, life


def _take(
    lock: Path, *, steal: bool, lease_s: float, say: Callable[[str], None]
) -> tuple[int, Path]:
    while True:
        seen = {path: _read(path) for path in _numbered(lock)}
        held = next(reversed(seen), None)
        if held is not None:
            _require_dead(held, steal=steal, lease_s=lease_s, say=say)
        number = 1 + (0 if held is None else _number(held))
        path = lock / f"{number:06d}.json"
        file = _create(path)
        if file is None:
            continue
        others = {found: _read(found) for found in _numbered(lock) if found != path}
        if others.items() <= seen.items():
            for older in others:
                older.unlink(missing_ok=True)
            return file, path
        _release(file, path)  # Others came and went meanwhile, and one of them may hold it now.


def _require_dead(path: Path, *, steal: bool, lease_s: float, say: Callable[[str], None]) -> None:
    owner = _read(path)
    life = _life(path, owner)
    watch_s = min(lease_s, 2 * BEAT_EVERY_S) if _is_copy(path) else lease_s
    watch = life == "unknown" and not steal
    if watch:
        say(f"watching for {watch_s:g} s whether {owner or 'the owner of the lock'} still runs it")
    moves = watch and _moves(path, watch_s)
    if (life == "alive" or moves) and path.exists():
        raise StudyError(
            f"is being run by {owner or 'a process that cannot be named'}",
            where=str(path.parents[1]),
            hint="wait for it, end it with `codesign stop`, or name another folder with --study"
            + ("; --steal takes the study from another host" if moves else ""),
        )


def _life(path: Path, owner: Owner | None) -> Life:
    """Judge a lock by what it says; one that is torn, or may be a copy, must move to be alive."""
    return "unknown" if owner is None or _is_copy(path) else owner.life()


def _moves(path: Path, for_s: float) -> bool:
    """Watch a lock until its heartbeat moves; no clock but this process's own is asked."""
    seen, end = _text(path), time.monotonic() + for_s
    while time.monotonic() < end:
        time.sleep(LOOK_EVERY_S)
        if _text(path) != seen:
            return True
    return False


def _create(path: Path) -> int | None:
    """Make the lock file, whole, and open for its heartbeat; None where the name is taken."""
    file, temporary = tempfile.mkstemp(dir=path.parent, suffix=TEMPORARY)
    os.fchmod(file, 0o644)
    try:
        owner = dataclasses.replace(_this_process(), inode=os.fstat(file).st_ino, since=time.time())
        _write(file, dataclasses.asdict(owner), 0)
        claimed = claim_name(Path(temporary), path)
    except BaseException:
        os.close(file)
        raise
    finally:
        Path(temporary).unlink(missing_ok=True)
    if claimed:
        return file
    os.close(file)
    return None


def _release(file: int, path: Path) -> None:
    with contextlib.suppress(OSError):  # Whoever took the study over has removed it.
        if path.stat().st_ino == os.fstat(file).st_ino:
            path.unlink()
    os.close(file)


def _beat(file: int, over: threading.Event) -> None:
    fields = json.loads(os.pread(file, 65536, 0))
    beats = fields.pop("heartbeat")
    while not over.wait(BEAT_EVERY_S):
        beats += 1
        with contextlib.suppress(OSError):  # A beat that is missed is what the lease is for.
            _write(file, fields, beats)


def _write(file: int, fields: dict[str, Any], beats: int) -> None:
    """Write the text of a lock, which has the same length for every heartbeat."""
    text = f'{json.dumps(fields)[:-1]}, "heartbeat": {beats:12d}}}\n'.encode()
    at = 0
    while at < len(text):  # On a disk that is nearly full, a part of it may be written first.
        at += os.pwrite(file, text[at:], at)
    os.fsync(file)


def _numbered(lock: Path) -> list[Path]:
    found = [path for path in lock.glob("*.json") if path.stem.isdigit()] if lock.is_dir() else []
    return sorted(found, key=_number)


def _highest(lock: Path) -> Path | None:
    return next(reversed(_numbered(lock)), None)


def _number(path: Path) -> int:
    return int(path.stem)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _fields(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(_text(path) or "")
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _read(path: Path) -> Owner | None:
    """Read who holds a lock; None where the file is torn or gone."""
    fields = _fields(path)
    fields.pop("heartbeat", None)
    if fields.keys() != {field.name for field in dataclasses.fields(Owner)}:
        return None
    return Owner(**fields)


def _is_copy(path: Path) -> bool:
    """Whether it is not the file that its owner made; some file systems make it look so."""
    with contextlib.suppress(OSError):
        return _fields(path).get("inode", path.stat().st_ino) != path.stat().st_ino
    return False


def _this_process() -> Owner:
    return Owner(
        host=socket.gethostname(),
        pid=os.getpid(),
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        pid_namespace=str(Path("/proc/self/ns/pid").readlink()),
        process_start=_process_start(os.getpid()),
    )


def _process_start(pid: int) -> int | None:
    """Ticks from boot to the start of a process; None where none lives under this id."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold anything; then state (field 3) … start time (field 22).
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])
