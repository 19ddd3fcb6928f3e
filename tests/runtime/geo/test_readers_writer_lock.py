from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kda_edge.runtime.geo.readers_writer_lock import ReadersWriterLock

WAIT_S = 30  # for threads of a busy machine


def test_many_share_and_nobody_is_in_beside_one_who_is_alone() -> None:
    lock, inside, most, together = ReadersWriterLock(), [0, 0], [0], threading.Barrier(8)

    def work(seed: int) -> None:
        together.wait(WAIT_S)
        for alone in np.random.default_rng(seed).integers(0, 5, 60) == 0:
            with lock.alone() if alone else lock.shared():
                inside[int(alone)] += 1
                shared, taken = inside
                most[0] = max(most[0], shared)
                assert taken <= 1
                assert not (taken and shared)
                time.sleep(0.0005)
                inside[int(alone)] -= 1

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert inside == [0, 0]
    assert most[0] > 1


def test_who_waits_to_be_alone_goes_before_those_that_come_later() -> None:
    lock, order, waits = ReadersWriterLock(), list[str](), threading.Event()

    def alone() -> None:
        waits.set()
        with lock.alone():
            order.append("alone")

    def later() -> None:
        with lock.shared():
            order.append("later")

    threads = [threading.Thread(target=alone), threading.Thread(target=later)]
    with lock.shared():
        threads[0].start()
        assert waits.wait(WAIT_S)
        time.sleep(0.05)  # until it waits indeed
        threads[1].start()
        time.sleep(0.05)
        assert order == []
    for thread in threads:
        thread.join(WAIT_S)
    assert order == ["alone", "later"]


@pytest.mark.parametrize("way", ["shared", "alone"])
def test_who_ends_in_an_error_lets_others_in(way: str) -> None:
    lock = ReadersWriterLock()
    with pytest.raises(ZeroDivisionError), getattr(lock, way)():
        raise ZeroDivisionError
    with lock.alone():
        pass
    with lock.shared():
        pass
