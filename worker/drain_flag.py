"""A flag that processes share across a fork."""

import mmap


class DrainFlag:
    """Set once, seen by all; a byte of shared memory.

    No lock, unlike `multiprocessing.Event`: a process that is killed while it holds one would stop all the others, and
    this is asked after every slice of training.
    """

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def set(self) -> None:
        """From now on everybody drains."""
        self._byte[0] = 1

    def is_set(self) -> bool:
        """Whether it was set, by whomever."""
        return self._byte[0] == 1
