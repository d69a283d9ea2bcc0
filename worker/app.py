"""The Celery application of a worker. The parent process imports no torch: fork and OpenMP or CUDA do not mix."""

import logging
import os
import threading
from typing import Any

from celery import signals
from kombu.entity import Queue

from shared.logging import configure_logging
from shared.settings import Settings
from shared.store.doorbell import QUEUES, TRAIN_TASK, queues_of
from shared.store.doorbell import celery_app as make_celery_app
from worker import celery_repairs
from worker.drain_flag import DrainFlag
from worker.niceness import give_way

# They tell of messages, most of which find their job taken; our own lines tell of jobs.
CHATTY = ("celery.worker.strategy", "celery.app.trace")

settings = Settings()
celery_app = make_celery_app(settings.effective_broker_url)
celery_app.conf.task_queues = [Queue(QUEUES[device]) for device in queues_of(settings.worker_device)]
celery_repairs.apply()

# Made before the fork: the parent sets it on SIGTERM, and every child sees it between two slices of training.
draining = DrainFlag()


@celery_app.task(name=TRAIN_TASK)
def train(job_id: str) -> None:
    """Train one job, if it still waits."""
    from worker.tasks import Process

    Process.current(settings, draining.is_set).train(job_id)


@signals.setup_logging.connect
def _setup_logging(**_: Any) -> None:
    configure_logging(settings)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


@signals.worker_shutting_down.connect
def _drain(**_: Any) -> None:
    draining.set()


@signals.worker_process_init.connect
def _start_child(**_: Any) -> None:
    # One thread each: two processes of one thread train more than one process of two.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"
    give_way(parent=os.getppid())
    threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()
    from worker.tasks import Process

    Process.current(settings, draining.is_set).announce_forever()


@signals.worker_process_shutdown.connect
def _stop_child(**_: Any) -> None:
    from worker.tasks import Process

    Process.current(settings, draining.is_set).leave()


def _exit_with_parent(parent: int) -> None:
    """A child whose parent was killed drains and goes: nobody would hand it work or stop it."""
    while os.getppid() == parent:
        threading.Event().wait(1.0)
    draining.set()
    threading.Event().wait(settings.lease_ttl_s)
    os._exit(1)
