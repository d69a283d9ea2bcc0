"""Start a program that ends together with its parent: `python tether.py PARENT_PID SIGNAL PROGRAM ARGUMENT...`.

It replaces itself by the program, so the program keeps its process id. It is run by its path and in isolated mode:
importing anything of ours would cost every child a quarter of a second. Linux keeps the promise even when the parent
is killed with -9; elsewhere the program is only started.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for a signal when the parent dies, then become the program."""
    parent_pid, death_signal, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        # The parent may have died before the request; nobody would ever tell us.
        if os.getppid() != int(parent_pid):
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 (the command is ours) # nosec B606


if __name__ == "__main__":
    main()
