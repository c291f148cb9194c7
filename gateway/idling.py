"""Loops in the background that sleep while there is nothing to do."""

IDLE = 1.0  # seconds between two looks at `stop` while there is nothing


def whenever(wanted, do, every, wake, stop):
    """Call `do()` while `wanted()` tells that there is something to do, until `stop` is set.

    It is called every so many seconds. Who makes something to do sets the event `wake`.
    """
    while not stop.is_set():
        wake.clear()
        if not wanted():
            wake.wait(IDLE)
            continue
        stop.wait(every)
        do()
