import os

from worker.drain_flag import DrainFlag


def test_what_the_parent_sets_its_children_see() -> None:
    flag = DrainFlag()
    assert not flag.is_set()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reading, 1)
        os._exit(0 if flag.is_set() else 1)
    flag.set()
    os.write(writing, b"x")
    assert os.waitpid(child, 0)[1] == 0
    os.close(reading)
    os.close(writing)
