"""Every item gets its own answer, whatever shares its model call and whatever goes wrong."""

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

from tests.unit.worker.fakes import PATIENCE, in_time
from worker.batcher import WAITING_BATCHES, Batcher, Closed, Done

#: Items that may wait beside a call of at most four.
FULL = 4 * WAITING_BATCHES


class OutOfMemoryError(Exception):
    """Named like torch's."""


class Model:
    """Answers an item with ten times the item; can be held, and stumbles over the items it is told to."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.trouble: dict[int, Exception] = {}
        self.room = 1000
        self.running = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls.append(list(items))
        self.running.set()
        assert self.go_on.wait(PATIENCE)
        if len(items) > self.room:
            raise OutOfMemoryError
        for item in items:
            if item in self.trouble:
                raise self.trouble[item]
        return [item * 10 for item in items]


@contextmanager
def let_go(model: Model) -> Iterator[None]:
    """Ends the hold of the model at the latest when the block ends, so that a failing test ends too."""
    try:
        yield
    finally:
        model.go_on.set()


def answer(future: Future[Done[int]]) -> int:
    return future.result(PATIENCE).result


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model()
    yield model
    model.go_on.set()


@pytest.fixture
def batcher(model: Model) -> Iterator[Batcher[int, int]]:
    batcher = Batcher(model, max_batch=4)
    yield batcher
    model.go_on.set()
    in_time(batcher.close)


@pytest.fixture
def busy(model: Model, batcher: Batcher[int, int]) -> Future[Done[int]]:
    """The model is held in a call with the item 0; its future."""
    model.go_on.clear()
    future = batcher.submit(0)
    assert model.running.wait(PATIENCE)
    return future


class TestBatching:
    def test_an_idle_model_starts_at_once_with_what_there_is(self, model: Model, batcher: Batcher[int, int]) -> None:
        done = batcher.submit(7).result(PATIENCE)

        assert (done.result, done.batch_size) == (70, 1)
        assert done.seconds >= 0

    @pytest.mark.usefixtures("busy")
    def test_what_several_threads_bring_meanwhile_goes_into_one_call(
        self, model: Model, batcher: Batcher[int, int]
    ) -> None:
        with ThreadPoolExecutor(3) as threads:
            futures = list(threads.map(batcher.submit, [1, 2, 3]))
        model.go_on.set()

        assert [answer(future) for future in futures] == [10, 20, 30]
        assert [future.result().batch_size for future in futures] == [3, 3, 3]
        assert [sorted(call) for call in model.calls] == [[0], [1, 2, 3]]

    @pytest.mark.usefixtures("busy")
    def test_a_call_never_holds_more_than_max_batch_and_keeps_the_order(
        self, model: Model, batcher: Batcher[int, int]
    ) -> None:
        futures = [batcher.submit(item) for item in range(1, 11)]
        model.go_on.set()

        assert [answer(future) for future in futures] == [item * 10 for item in range(1, 11)]
        assert model.calls == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]

    @pytest.mark.usefixtures("busy")
    def test_a_full_queue_holds_the_next_back(self, model: Model, batcher: Batcher[int, int]) -> None:
        waiting = [batcher.submit(item) for item in range(FULL)]
        with ThreadPoolExecutor(1) as thread, let_go(model):
            held_back = thread.submit(batcher.submit, 99)
            with pytest.raises(NotYet):
                held_back.result(0.05)
            model.go_on.set()

            assert answer(held_back.result(PATIENCE)) == 990
        assert [answer(future) for future in waiting] == [item * 10 for item in range(FULL)]

    @pytest.mark.usefixtures("busy")
    def test_canceled_items_cost_no_model_time(self, model: Model, batcher: Batcher[int, int]) -> None:
        futures = [batcher.submit(item) for item in range(1, 8)]
        assert all(futures[item - 1].cancel() for item in (1, 2, 3, 4, 6))
        model.go_on.set()

        assert (answer(futures[4]), answer(futures[6])) == (50, 70)
        assert model.calls == [[0], [5, 7]]

    def test_the_speed_is_known_after_the_first_call(self, batcher: Batcher[int, int]) -> None:
        before = batcher.items_per_second
        answer(batcher.submit(1))

        assert before is None
        assert batcher.items_per_second is not None and batcher.items_per_second > 0


class TestInteractive:
    @pytest.mark.usefixtures("busy")
    def test_interactive_items_go_before_all_others_in_a_call_of_their_own(
        self, model: Model, batcher: Batcher[int, int]
    ) -> None:
        bulk = [batcher.submit(item) for item in range(1, 6)]
        interactive = [batcher.submit(item, interactive=True) for item in (101, 102)]
        model.go_on.set()

        assert [answer(future) for future in [*interactive, *bulk]] == [1010, 1020, 10, 20, 30, 40, 50]
        assert model.calls == [[0], [101, 102], [1, 2, 3, 4], [5]]

    @pytest.mark.usefixtures("busy")
    def test_every_other_call_has_a_part_for_the_others(self, model: Model, batcher: Batcher[int, int]) -> None:
        futures = [batcher.submit(item) for item in (1, 2)]
        futures += [batcher.submit(item, interactive=True) for item in range(101, 110)]
        model.go_on.set()

        for future in futures:
            answer(future)
        assert model.calls == [[0], [101, 102, 103, 104], [105, 106, 107, 1], [108, 109], [2]]

    @pytest.mark.usefixtures("busy")
    def test_a_full_queue_of_others_holds_no_interactive_item_back(
        self, model: Model, batcher: Batcher[int, int]
    ) -> None:
        for item in range(FULL):
            batcher.submit(item)
        interactive = in_time(lambda: batcher.submit(101, interactive=True))
        model.go_on.set()

        assert answer(interactive) == 1010
        assert model.calls[1] == [101]

    @pytest.mark.usefixtures("busy")
    def test_a_canceled_item_leaves_its_place_in_a_full_queue(self, model: Model, batcher: Batcher[int, int]) -> None:
        waiting = [batcher.submit(item) for item in range(FULL)]
        with ThreadPoolExecutor(1) as thread, let_go(model):
            held_back = thread.submit(batcher.submit, 99)
            waiting[5].cancel()

            held_back.result(PATIENCE)  # while the model is still busy
            assert not model.go_on.is_set()


class TestTrouble:
    @pytest.mark.usefixtures("busy")
    def test_an_error_of_the_model_reaches_every_caller_and_the_next_call_works(
        self, model: Model, batcher: Batcher[int, int]
    ) -> None:
        model.trouble = {item: ValueError(f"item {item}") for item in (1, 2, 3)}
        futures = [batcher.submit(item) for item in (1, 2, 3)]
        model.go_on.set()

        for item, future in enumerate(futures, start=1):
            with pytest.raises(ValueError, match=f"item {item}"):
                answer(future)
        assert answer(batcher.submit(4)) == 40

    @pytest.mark.usefixtures("busy")
    def test_only_the_item_that_is_to_blame_gets_the_error(self, model: Model, batcher: Batcher[int, int]) -> None:
        model.trouble = {3: ValueError("item 3")}
        futures = [batcher.submit(item) for item in (1, 2, 3, 4)]
        model.go_on.set()

        with pytest.raises(ValueError, match="item 3"):
            answer(futures.pop(2))
        assert [answer(future) for future in futures] == [10, 20, 40]

    def test_a_model_that_forgets_an_item_answers_none_wrongly(self) -> None:
        batcher: Batcher[int, int] = Batcher(lambda items: [], max_batch=4)

        with pytest.raises(RuntimeError, match="0 results for 1 items"):
            answer(batcher.submit(1))
        in_time(batcher.close)

    @pytest.mark.usefixtures("busy")
    def test_when_memory_runs_out_the_calls_stay_smaller(
        self, model: Model, batcher: Batcher[int, int], caplog: pytest.LogCaptureFixture
    ) -> None:
        model.room = 2
        futures = [batcher.submit(item) for item in range(1, 9)]
        with caplog.at_level(logging.WARNING):
            model.go_on.set()

            assert [answer(future) for future in futures] == [item * 10 for item in range(1, 9)]
        assert model.calls == [[0], [1, 2, 3, 4], [1, 2], [3, 4], [5, 6], [7, 8]]
        assert "at most 2 at once" in caplog.text

    def test_an_item_too_large_for_the_memory_does_not_end_the_batcher(
        self, model: Model, batcher: Batcher[int, int]
    ) -> None:
        model.trouble = {1: MemoryError()}

        with pytest.raises(MemoryError):
            answer(batcher.submit(1))
        assert answer(batcher.submit(2)) == 20


class TestClose:
    def test_what_was_accepted_is_finished_and_what_was_held_back_is_refused(
        self, model: Model, batcher: Batcher[int, int], busy: Future[Done[int]]
    ) -> None:
        accepted = [busy, *(batcher.submit(item) for item in range(1, FULL + 1))]
        with ThreadPoolExecutor(2) as threads, let_go(model):
            held_back = threads.submit(batcher.submit, 99)
            closing = threads.submit(batcher.close)
            with pytest.raises(Closed):
                held_back.result(PATIENCE)
            assert not closing.done()
            model.go_on.set()
            closing.result(PATIENCE)

        assert [future.done() for future in accepted] == [True] * len(accepted)
        assert [answer(future) for future in accepted] == [item * 10 for item in range(len(accepted))]

    def test_a_closed_batcher_takes_nothing_and_may_be_closed_again(self, batcher: Batcher[int, int]) -> None:
        in_time(batcher.close)
        in_time(batcher.close)

        with pytest.raises(Closed):
            batcher.submit(1)


@examples(deadline=None, max_examples=60)
@given(
    arrivals=st.lists(st.lists(st.booleans(), max_size=9), min_size=1, max_size=5),
    max_batch=st.integers(1, 6),
)
def test_every_item_gets_exactly_its_own_answer(arrivals: list[list[bool]], max_batch: int) -> None:
    """One list for each thread; a False is an item that the model stumbles over."""
    model = Model()
    items = [[thread * 100 + place for place in range(len(each))] for thread, each in enumerate(arrivals)]
    good = dict(zip(chain(*items), chain(*arrivals), strict=True))
    model.trouble = {item: ValueError(str(item)) for item, fine in good.items() if not fine}
    batcher = Batcher(model, max_batch)

    def submit(of_thread: list[int]) -> dict[int, Future[Done[int]]]:
        return {item: batcher.submit(item) for item in of_thread}

    with ThreadPoolExecutor(len(items)) as threads:
        futures = {item: future for each in threads.map(submit, items) for item, future in each.items()}
    in_time(batcher.close)

    assert {item: future.exception(0) is None for item, future in futures.items()} == good
    assert all(future.result().result == item * 10 for item, future in futures.items() if good[item])
    assert all(str(future.exception()) == str(item) for item, future in futures.items() if not good[item])
    assert all(1 <= len(call) <= max_batch for call in model.calls)
