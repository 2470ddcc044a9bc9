from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumorctl.core.parallel import map_ahead


@given(st.lists(st.integers()), st.integers(0, 5), st.integers(1, 4))
def test_results_come_in_order(items: list[int], ahead: int, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        assert list(map_ahead(pool, lambda item: item * 2, items, ahead=ahead)) == [item * 2 for item in items]


def test_no_more_than_the_bound_is_read_ahead() -> None:
    read = 0

    def source() -> Iterator[int]:
        nonlocal read
        for item in range(100):
            read += 1
            yield item

    with ThreadPoolExecutor(2) as pool:
        results = map_ahead(pool, str, source(), ahead=3)
        for taken in range(1, 11):
            next(results)
            assert read <= taken + 3


def test_what_was_done_before_the_source_failed_is_not_lost() -> None:
    def source() -> Iterator[int]:
        yield from range(3)
        raise ConnectionError

    with ThreadPoolExecutor(2) as pool:
        results = map_ahead(pool, str, source(), ahead=10)
        assert [next(results) for _ in range(3)] == ["0", "1", "2"]
        with pytest.raises(ConnectionError):
            next(results)


def test_an_error_of_the_work_itself_is_raised_in_its_turn() -> None:
    def work(item: int) -> int:
        return 10 // item

    with ThreadPoolExecutor(2) as pool:
        results = map_ahead(pool, work, [5, 0, 2], ahead=2)
        assert next(results) == 2
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_leaving_early_drops_what_waits() -> None:
    permits = threading.Semaphore(0)
    done = []

    def work(item: int) -> int:
        permits.acquire(timeout=10)
        done.append(item)
        return item

    with ThreadPoolExecutor(1) as pool:
        results = map_ahead(pool, work, range(50), ahead=20)
        permits.release()
        assert next(results) == 0
        results.close()  # type: ignore[attr-defined]
        permits.release(50)
    assert len(done) <= 2
