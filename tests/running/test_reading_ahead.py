"""The next item is read meanwhile, one at a time, in order; errors stay with their item."""

import gc
import threading
import weakref

import pytest

from auto_config.running.reading_ahead import read_ahead


class Content:
    def __init__(self, item):
        self.item = item


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_contents_come_in_order(count):
    items = list(range(count))
    assert [(item, content().item) for item, content in read_ahead(Content, items)] == [(n, n) for n in items]


def test_the_next_item_is_read_while_one_is_worked_on_and_no_further():
    started = [threading.Event() for _ in range(4)]

    def read(item):
        started[item].set()
        return item

    for item, content in read_ahead(read, range(4)):
        assert content() == item
        if item < 3:
            assert started[item + 1].wait(10)
        if item < 2:
            assert not started[item + 2].is_set()


def test_an_error_is_that_of_its_item():
    def read(item):
        if item == 1:
            raise ValueError("broken")
        return item

    for item, content in read_ahead(read, range(3)):
        if item == 1:
            with pytest.raises(ValueError, match="broken"):
                content()
        else:
            assert content() == item


def test_two_contents_at_most_are_in_memory():
    alive = weakref.WeakSet()

    def read(item):
        gc.collect()
        # This one is made beside the one that is worked on.
        assert len(alive) <= 1, len(alive)
        content = Content(item)
        alive.add(content)
        return content

    for _, content in read_ahead(read, range(6)):
        work(content)


def work(content):
    assert content().item >= 0


def test_leaving_early_reads_no_more():
    seen = []
    reading = read_ahead(seen.append, range(100))
    next(reading)
    reading.close()
    assert len(seen) <= 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reading")]
