"""What Celery gets wrong when a broker or a child dies. Check at each upgrade whether it still does."""

from typing import Any

import billiard.pool
from celery.concurrency.asynpool import AsynPool
from kombu.message import Message

# Tenths of a second.
LONGEST_WAIT_FOR_PARENT = 10

_destroy_queues = AsynPool.destroy_queues


def apply() -> None:
    """Repair the library for this process and its children; doing so again changes nothing."""
    Message.ack_log_error = _acknowledge  # type: ignore[method-assign,assignment]
    AsynPool.destroy_queues = _forget_and_destroy_queues
    # Before it exits, a child waits for its parent to read what became of its last message. A parent that was asked to
    # end while the message was on its way has dropped it and never reads: for 30 s each waits for the other. Nothing is
    # lost with the answer, since the database knows what became of the job.
    billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = LONGEST_WAIT_FOR_PARENT


def _acknowledge(message: Message, *_: Any, **options: Any) -> None:
    """Acknowledge, and say so when the broker is gone.

    Kombu's own only logs that. The failed attempt has taken the connection from the loop that watches it, so that
    nobody notices any more: the worker waits for messages until it is restarted. Raised, it connects again.
    """
    message.ack(**options)


_acknowledge.__name__ = Message.ack_log_error.__name__  # Celery's pool knows it by its name


def _forget_and_destroy_queues(pool: Any, queues: Any, child: Any) -> Any:
    """Close the pipes of a child that was killed at work, and no longer listen to them.

    Celery's own goes on listening to the number of the closed file once it has connected to the broker again. By then
    the number may belong to the pipe that leads to the next child: the parent reads its own messages, and the child
    waits for the rest of what it was left for ever.
    """
    if pool._fileno_to_outq.get(child.outqR_fd) is child:
        del pool._fileno_to_outq[child.outqR_fd]
    return _destroy_queues(pool, queues, child)
