"""Work on threads, a bounded number of items ahead of whoever takes the results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    executor: Executor, function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int
) -> Iterator[Result]:
    """Like `map`, in order, with at most `ahead` items started before their turn.

    An error of `items` itself is raised after the results of the items before it, so that no finished work is lost.
    """
    started: deque[Future[Result]] = deque()
    source = iter(items)
    failure: Exception | None = None
    try:
        while True:
            try:
                started.append(executor.submit(function, next(source)))
            except StopIteration:
                break
            except Exception as error:
                failure = error
                break
            if len(started) > ahead:
                yield started.popleft().result()
        while started:
            yield started.popleft().result()
        if failure is not None:
            raise failure
    finally:
        for future in started:
            future.cancel()
