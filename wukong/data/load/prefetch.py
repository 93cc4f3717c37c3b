"""Work done ahead of need by threads, handed over in order."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Result = TypeVar("Result")


def in_order(tasks: Iterable[Callable[[], Result]], workers: int) -> Iterator[Result]:
    """Yield the results of `tasks` in their order; an error is raised in its task's place.

    With workers, at most `workers + 1` tasks are begun and not yet handed over. A thread never
    waits for its consumer, so a consumer that stops, fails or ends the process waits for no more
    than the tasks under way.

    Args:
        workers: threads; 0 does each task when its result is asked for.
    """
    if not workers:
        for task in tasks:
            yield task()
        return
    remaining = iter(tasks)
    with ThreadPoolExecutor(workers, thread_name_prefix="loader") as pool:
        ahead: deque[Future[Result]] = deque()
        try:
            ahead.extend(pool.submit(task) for task in islice(remaining, workers + 1))
            while ahead:
                result = ahead.popleft().result()
                ahead.extend(pool.submit(task) for task in islice(remaining, 1))
                yield result
        finally:
            pool.shutdown(cancel_futures=True)
