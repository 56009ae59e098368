"""The batcher: batching, priorities, failures and shutdown."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.unit.worker.fakes import TIMEOUT, with_timeout
from worker.batcher import QUEUED_BATCHES, Batcher, Closed, ItemResult

#: Capacity of a queue with `max_batch` 4.
CAPACITY = 4 * QUEUED_BATCHES


class OutOfMemoryError(Exception):
    """Has the name of torch's exception."""


class Model:
    """Returns ten times each item; can be blocked, and raises the errors set in `errors`."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.errors: dict[int, Exception] = {}
        self.max_items = 1000
        self.running = threading.Event()
        self.unblocked = threading.Event()
        self.unblocked.set()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls.append(list(items))
        self.running.set()
        assert self.unblocked.wait(TIMEOUT)
        if len(items) > self.max_items:
            raise OutOfMemoryError
        for item in items:
            if item in self.errors:
                raise self.errors[item]
        return [item * 10 for item in items]


def key(item: int) -> int:
    """Items from 1000 on have another key for each thousand."""
    return item // 1000


@contextmanager
def unblocking(model: Model) -> Iterator[None]:
    """Unblock the model when the context ends, so that a failing test ends."""
    try:
        yield
    finally:
        model.unblocked.set()


def result_of(future: Future[ItemResult[int]]) -> int:
    return future.result(TIMEOUT).result


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model()
    yield model
    model.unblocked.set()


@pytest.fixture
def batcher(model: Model) -> Iterator[Batcher[int, int]]:
    batcher = Batcher(model, key, max_batch=4)
    yield batcher
    model.unblocked.set()
    with_timeout(batcher.close)


@pytest.fixture
def busy(model: Model, batcher: Batcher[int, int]) -> Future[ItemResult[int]]:
    """The future of item 0, in whose call the model is blocked."""
    model.unblocked.clear()
    future = batcher.submit(0)
    assert model.running.wait(TIMEOUT)
    return future


class TestBatching:
    def test_an_idle_model_starts_at_once_with_one_item(self, model: Model, batcher: Batcher[int, int]) -> None:
        done = batcher.submit(7).result(TIMEOUT)

        assert (done.result, done.batch_size) == (70, 1)
        assert done.seconds >= 0

    @pytest.mark.usefixtures("busy")
    def test_items_submitted_during_a_call_share_the_next_call(self, model: Model, batcher: Batcher[int, int]) -> None:
        with ThreadPoolExecutor(3) as threads:
            futures = list(threads.map(batcher.submit, [1, 2, 3]))
        model.unblocked.set()

        assert [result_of(future) for future in futures] == [10, 20, 30]
        assert [future.result().batch_size for future in futures] == [3, 3, 3]
        assert [sorted(call) for call in model.calls] == [[0], [1, 2, 3]]

    @pytest.mark.usefixtures("busy")
    def test_a_call_has_at_most_max_batch_items_in_order(self, model: Model, batcher: Batcher[int, int]) -> None:
        futures = [batcher.submit(item) for item in range(1, 11)]
        model.unblocked.set()

        assert [result_of(future) for future in futures] == [item * 10 for item in range(1, 11)]
        assert model.calls == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]

    @pytest.mark.usefixtures("busy")
    def test_submit_blocks_while_the_queue_is_full(self, model: Model, batcher: Batcher[int, int]) -> None:
        waiting = [batcher.submit(item) for item in range(CAPACITY)]
        with ThreadPoolExecutor(1) as thread, unblocking(model):
            blocked = thread.submit(batcher.submit, 99)
            with pytest.raises(NotYet):
                blocked.result(0.05)
            model.unblocked.set()

            assert result_of(blocked.result(TIMEOUT)) == 990
        assert [result_of(future) for future in waiting] == [item * 10 for item in range(CAPACITY)]

    @pytest.mark.usefixtures("busy")
    def test_canceled_items_cost_no_model_time(self, model: Model, batcher: Batcher[int, int]) -> None:
        futures = [batcher.submit(item) for item in range(1, 8)]
        assert all(futures[item - 1].cancel() for item in (1, 2, 3, 4, 6))
        model.unblocked.set()

        assert (result_of(futures[4]), result_of(futures[6])) == (50, 70)
        assert model.calls == [[0], [5, 7]]

    def test_the_speed_is_measured_after_the_first_call(self, batcher: Batcher[int, int]) -> None:
        before = batcher.items_per_second
        result_of(batcher.submit(1))

        assert before is None
        assert batcher.items_per_second is not None and batcher.items_per_second > 0


class TestInteractive:
    @pytest.mark.usefixtures("busy")
    def test_interactive_items_go_first_in_a_separate_call(self, model: Model, batcher: Batcher[int, int]) -> None:
        bulk = [batcher.submit(item) for item in range(1, 6)]
        interactive = [batcher.submit(item, interactive=True) for item in (101, 102)]
        model.unblocked.set()

        assert [result_of(future) for future in [*interactive, *bulk]] == [1010, 1020, 10, 20, 30, 40, 50]
        assert model.calls == [[0], [101, 102], [1, 2, 3, 4], [5]]

    @pytest.mark.usefixtures("busy")
    def test_every_second_call_is_shared_with_bulk_items(self, model: Model, batcher: Batcher[int, int]) -> None:
        futures = [batcher.submit(item) for item in (1, 2)]
        futures += [batcher.submit(item, interactive=True) for item in range(101, 110)]
        model.unblocked.set()

        for future in futures:
            result_of(future)
        assert model.calls == [[0], [101, 102, 103, 104], [105, 106, 107, 1], [108, 109], [2]]

    @pytest.mark.usefixtures("busy")
    def test_a_full_bulk_queue_does_not_block_interactive_items(self, model: Model, batcher: Batcher[int, int]) -> None:
        for item in range(CAPACITY):
            batcher.submit(item)
        interactive = with_timeout(lambda: batcher.submit(101, interactive=True))
        model.unblocked.set()

        assert result_of(interactive) == 1010
        assert model.calls[1] == [101]

    @pytest.mark.usefixtures("busy")
    def test_a_canceled_item_frees_its_place_in_a_full_queue(self, model: Model, batcher: Batcher[int, int]) -> None:
        waiting = [batcher.submit(item) for item in range(CAPACITY)]
        with ThreadPoolExecutor(1) as thread, unblocking(model):
            blocked = thread.submit(batcher.submit, 99)
            waiting[5].cancel()

            blocked.result(TIMEOUT)  # succeeds while the model is still blocked
            assert not model.unblocked.is_set()


class TestKeys:
    """Items below 1000 have one key, those from 1000 on another, and so on."""

    @pytest.mark.usefixtures("busy")
    def test_a_call_has_items_of_one_key_only(self, model: Model, batcher: Batcher[int, int]) -> None:
        futures = [batcher.submit(item) for item in (1, 1001, 2, 1002, 3)]
        model.unblocked.set()

        assert [result_of(future) for future in futures] == [10, 10010, 20, 10020, 30]
        assert model.calls == [[0], [1, 2, 3], [1001, 1002]]

    @pytest.mark.usefixtures("busy")
    def test_an_item_with_a_rare_key_is_not_left_behind(self, model: Model, batcher: Batcher[int, int]) -> None:
        """The items of the other key that arrived later fill no second call before it."""
        futures = [batcher.submit(item) for item in (1, 1001, *range(2, 12))]
        model.unblocked.set()

        for future in futures:
            result_of(future)
        assert model.calls == [[0], [1, 2, 3, 4], [1001], [5, 6, 7, 8], [9, 10, 11]]

    @pytest.mark.usefixtures("busy")
    def test_only_interactive_items_of_the_same_key_share_a_call_with_bulk_items(
        self, model: Model, batcher: Batcher[int, int]
    ) -> None:
        """While many interactive items wait, whatever their keys, a call has one bulk item: a fourth of four."""
        futures = [batcher.submit(item) for item in (1, 2)]
        futures += [batcher.submit(item, interactive=True) for item in (*range(1001, 1009), 101)]
        model.unblocked.set()

        for future in futures:
            result_of(future)
        assert model.calls == [[0], [1001, 1002, 1003, 1004], [101, 1], [1005, 1006, 1007, 1008], [2]]

    @pytest.mark.usefixtures("busy")
    def test_interactive_and_bulk_items_of_different_keys_take_turns(
        self, model: Model, batcher: Batcher[int, int]
    ) -> None:
        bulk = [batcher.submit(item) for item in (1, 2, 3)]
        interactive = [batcher.submit(item, interactive=True) for item in (1001, 2001)]
        model.unblocked.set()

        for future in [*interactive, *bulk]:
            result_of(future)
        assert model.calls == [[0], [1001], [1, 2, 3], [2001]]

    @pytest.mark.usefixtures("busy")
    def test_halves_of_a_failing_call_keep_their_key(self, model: Model, batcher: Batcher[int, int]) -> None:
        model.errors = {1001: ValueError("item 1001")}
        futures = [batcher.submit(item) for item in (1001, 1, 1002, 2)]
        model.unblocked.set()

        assert [result_of(future) for future in futures[1:]] == [10, 10020, 20]
        assert model.calls == [[0], [1001, 1002], [1001], [1002], [1, 2]]


class TestErrors:
    @pytest.mark.usefixtures("busy")
    def test_each_failing_item_gets_its_own_error_and_the_next_call_works(
        self, model: Model, batcher: Batcher[int, int]
    ) -> None:
        model.errors = {item: ValueError(f"item {item}") for item in (1, 2, 3)}
        futures = [batcher.submit(item) for item in (1, 2, 3)]
        model.unblocked.set()

        for item, future in enumerate(futures, start=1):
            with pytest.raises(ValueError, match=f"item {item}"):
                result_of(future)
        assert result_of(batcher.submit(4)) == 40

    @pytest.mark.usefixtures("busy")
    def test_only_the_failing_item_gets_the_error(self, model: Model, batcher: Batcher[int, int]) -> None:
        model.errors = {3: ValueError("item 3")}
        futures = [batcher.submit(item) for item in (1, 2, 3, 4)]
        model.unblocked.set()

        with pytest.raises(ValueError, match="item 3"):
            result_of(futures.pop(2))
        assert [result_of(future) for future in futures] == [10, 20, 40]

    def test_a_wrong_number_of_results_is_an_error(self) -> None:
        batcher: Batcher[int, int] = Batcher(lambda items: [], key, max_batch=4)

        with pytest.raises(RuntimeError, match="0 results for 1 items"):
            result_of(batcher.submit(1))
        with_timeout(batcher.close)

    @pytest.mark.usefixtures("busy")
    def test_an_out_of_memory_error_halves_the_batch_limit(
        self, model: Model, batcher: Batcher[int, int], caplog: pytest.LogCaptureFixture
    ) -> None:
        model.max_items = 2
        futures = [batcher.submit(item) for item in range(1, 9)]
        with caplog.at_level(logging.WARNING):
            model.unblocked.set()

            assert [result_of(future) for future in futures] == [item * 10 for item in range(1, 9)]
        assert model.calls == [[0], [1, 2, 3, 4], [1, 2], [3, 4], [5, 6], [7, 8]]
        assert "the new limit is 2" in caplog.text

    def test_each_call_runs_in_the_context_of_its_items(self, model: Model) -> None:
        entered: list[list[int]] = []

        @contextmanager
        def context(items: Sequence[int]) -> Iterator[None]:
            entered.append(list(items))
            yield

        model.max_items = 1
        batcher = Batcher(model, key, 4, context)
        result_of(batcher.submit(1))
        model.unblocked.clear()
        futures = [batcher.submit(2)]
        assert model.running.wait(TIMEOUT)
        futures += [batcher.submit(3), batcher.submit(4)]
        model.unblocked.set()
        for future in futures:
            result_of(future)
        with_timeout(batcher.close)

        assert entered == model.calls
        assert entered[-2:] == [[3], [4]]

    def test_an_out_of_memory_error_of_one_item_does_not_stop_the_batcher(
        self, model: Model, batcher: Batcher[int, int]
    ) -> None:
        model.errors = {1: MemoryError()}

        with pytest.raises(MemoryError):
            result_of(batcher.submit(1))
        assert result_of(batcher.submit(2)) == 20


class TestClose:
    def test_close_finishes_accepted_items_and_rejects_blocked_ones(
        self, model: Model, batcher: Batcher[int, int], busy: Future[ItemResult[int]]
    ) -> None:
        accepted = [busy, *(batcher.submit(item) for item in range(1, CAPACITY + 1))]
        with ThreadPoolExecutor(2) as threads, unblocking(model):
            blocked = threads.submit(batcher.submit, 99)
            closing = threads.submit(batcher.close)
            with pytest.raises(Closed):
                blocked.result(TIMEOUT)
            assert not closing.done()
            model.unblocked.set()
            closing.result(TIMEOUT)

        assert [future.done() for future in accepted] == [True] * len(accepted)
        assert [result_of(future) for future in accepted] == [item * 10 for item in range(len(accepted))]

    def test_a_closed_batcher_rejects_items_and_can_be_closed_again(self, batcher: Batcher[int, int]) -> None:
        with_timeout(batcher.close)
        with_timeout(batcher.close)

        with pytest.raises(Closed):
            batcher.submit(1)


@examples(deadline=None, max_examples=60)
@given(
    arrivals=st.lists(st.lists(st.booleans(), max_size=9), min_size=1, max_size=5),
    max_batch=st.integers(1, 6),
)
def test_every_item_gets_its_own_result_or_error(arrivals: list[list[bool]], max_batch: int) -> None:
    """`arrivals` has a list of items per thread; the model raises for items that are False."""
    model = Model()
    items = [[thread * 100 + index for index in range(len(each))] for thread, each in enumerate(arrivals)]
    good = dict(zip(chain(*items), chain(*arrivals), strict=True))
    model.errors = {item: ValueError(str(item)) for item, succeeds in good.items() if not succeeds}
    batcher = Batcher(model, lambda item: item % 3, max_batch)

    def submit(thread_items: list[int]) -> dict[int, Future[ItemResult[int]]]:
        return {item: batcher.submit(item) for item in thread_items}

    with ThreadPoolExecutor(len(items)) as threads:
        futures = {item: future for each in threads.map(submit, items) for item, future in each.items()}
    with_timeout(batcher.close)

    assert {item: future.exception(0) is None for item, future in futures.items()} == good
    assert all(future.result().result == item * 10 for item, future in futures.items() if good[item])
    assert all(str(future.exception()) == str(item) for item, future in futures.items() if not good[item])
    assert all(1 <= len(call) <= max_batch for call in model.calls)
    assert all(len({item % 3 for item in call}) == 1 for call in model.calls)


def test_several_threads_call_the_model_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=TIMEOUT)

    def model(items: Sequence[int]) -> list[int]:
        together.wait()
        return [item * 10 for item in items]

    batcher = Batcher(model, key, max_batch=1, threads=3)
    futures = [batcher.submit(number) for number in range(6)]

    assert [result_of(future) for future in futures] == [0, 10, 20, 30, 40, 50]
    assert batcher.items_per_second is not None
    with_timeout(batcher.close)
