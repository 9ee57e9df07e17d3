"""Work done ahead, in a thread of its own, while the caller is busy with what came before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item], waiting: int = 2) -> Iterator[Item]:
    """The same items, computed by a thread while the caller works on earlier ones.

    Args:
        items: computed one after the other, in the thread.
        waiting: how many may lie ready; memory grows with it, not with their number.

    Yields:
        Every item in order; an error of the thread is raised where its item would have come.
    """
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(waiting)
    unwanted = threading.Event()

    def put(known: bool, item: Any) -> bool:
        while not unwanted.is_set():
            try:
                ready.put((known, item), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        end: BaseException | None = None
        try:
            if not all(put(True, item) for item in items):
                return
        except BaseException as error:  # raised in the thread that reads
            end = error
        put(False, end)

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            known, item = ready.get()
            if known:
                yield item
            elif item is None:
                return
            else:
                raise item
    finally:
        unwanted.set()
        thread.join()
