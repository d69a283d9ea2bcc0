"""What is taken out of the product, one thing at a time, and the tests that must notice."""

from dataclasses import dataclass
from pathlib import Path

MODEL = (
    "tests/shared/store/test_model.py::"
    "test_whatever_happens_in_whatever_order_the_store_does_what_its_model_does[sqlite]"
)
QUEUE = "tests/shared/store/test_queue.py"
EPOCHS = "tests/shared/store/test_queue_epochs.py"
ENDINGS = "tests/shared/store/test_queue_endings.py"
LIFECYCLE = "tests/shared/store/test_lifecycle.py"
EVENTS = "tests/shared/store/test_event_log.py"


@dataclass(frozen=True)
class Edit:
    """Text that stands in a file exactly once, and what takes its place."""

    file: str
    old: str
    new: str = ""

    def applied(self, folder: Path) -> str:
        """The file's content after the edit.

        Raises: ValueError: the text does not stand there exactly once.
        """
        content = (folder / self.file).read_text()
        if content.count(self.old) != 1:
            raise ValueError(f"{self.file} holds {content.count(self.old)} times, not once: {self.old!r}")
        return content.replace(self.old, self.new)


@dataclass(frozen=True)
class Mutation:
    """One fault; each of `killers`, one test or all that a function stands for, has to fail because of it."""

    name: str
    edits: tuple[Edit, ...]
    killers: tuple[str, ...]


def _mutation(name: str, file: str, old: str, new: str, *killers: str) -> Mutation:
    return Mutation(name, (Edit(file, old, new),), killers)


_STORE = (
    _mutation(
        "an old token may write", "shared/store/queue.py",
        "Job.token == lease.token, ", "",
        f"{QUEUE}::test_who_holds_an_old_token_writes_nothing", MODEL,
    ),
    _mutation(
        "what was taken over is forgotten with what was measured too far", "shared/store/queue.py",
        "trained = (Run.job_id == lease.job_id, Run.reused_from.is_(None))", "trained = (Run.job_id == lease.job_id,)",
        "tests/shared/store/test_reuse.py::test_a_part_of_a_job_is_trained_as_the_rest_was",
    ),
    Mutation(
        "an epoch may be stored twice",
        (
            Edit(
                "migrations/versions/0001_first_tables.py",
                '''        sa.PrimaryKeyConstraint("run_id", "epoch", name=op.f("pk_epoch_metrics")),
        sqlite_with_rowid=False,
''',
            ),
            # SQLAlchemy wants to know what tells two rows apart, whether or not the database does.
            Edit("shared/store/tables.py", 'ForeignKey(Run.id, ondelete="CASCADE"), primary_key=True)',
                 'ForeignKey(Run.id, ondelete="CASCADE"))'),
            Edit("shared/store/tables.py", "mapped_column(Integer, primary_key=True, autoincrement=False)",
                 "mapped_column(Integer, autoincrement=False)"),
            Edit("shared/store/tables.py", '__table_args__ = ({"sqlite_with_rowid": False},)',
                 '__mapper_args__ = {"primary_key": [run_id, epoch]}'),
        ),
        (f"{EPOCHS}::test_an_epoch_committed_again_changes_nothing", MODEL),
    ),
    _mutation(
        "a worker that never spoke after its claim is never silent", "shared/store/queue.py",
        "func.coalesce(Job.heartbeat_at, Job.claimed_at) < ago(ttl_s)", "Job.heartbeat_at < ago(ttl_s)",
        f"{ENDINGS}::test_a_lease_lasts_as_long_as_its_last_sign_of_life_is_young", MODEL,
    ),
    _mutation(
        "a flagged job may be renewed", "shared/store/queue.py",
        "    return _change_held(session, lease, JobState.RUNNING, heartbeat_at=now())",
        "    return _change_held(session, lease, JobState.RUNNING, JobState.CANCELLING, heartbeat_at=now())",
        f"{QUEUE}::test_a_cancelled_job_takes_no_more_writes",
        "tests/worker/test_lease_keeper.py::test_a_cancellation_stops_the_job_within_a_third_of_the_lease",
    ),
    _mutation(
        "a job may be lost once more than allowed", "shared/store/queue.py",
        "Job.losses + 1 >= max_losses", "Job.losses + 1 > max_losses",
        f"{ENDINGS}::test_a_job_that_was_lost_three_times_fails_and_the_others_go_on",
    ),
    _mutation(
        "going back forgets nothing", "shared/store/queue.py",
        "    changed_rows(session, delete(EpochMetrics).where(EpochMetrics.run_id.in_(run_ids), "
        "EpochMetrics.epoch > epoch))\n", "",
        f"{EPOCHS}::test_going_back_to_a_checkpoint_forgets_what_was_measured_later", MODEL,
    ),
    _mutation(
        "a worker that spoke just in time is reaped", "shared/store/queue.py",
        "Job.state.in_(LEASED_JOB), _silent_for(ttl_s)).values(values)", "Job.state.in_(LEASED_JOB)).values(values)",
        f"{ENDINGS}::test_a_lease_lasts_as_long_as_its_last_sign_of_life_is_young", MODEL,
    ),
    _mutation(
        "a job that is held or over may be claimed", "shared/store/queue.py",
        "Job.id == job_id, Job.state.in_(WAITING_JOB), Job.device", "Job.id == job_id, Job.device",
        f"{QUEUE}::test_a_waiting_job_is_claimed_once",
        f"{QUEUE}::test_a_message_that_comes_after_the_end_does_nothing", MODEL,
    ),
    _mutation(
        "a claim keeps the token", "shared/store/queue.py", "token=Job.token + 1", "token=Job.token",
        f"{ENDINGS}::test_tokens_only_grow", MODEL,
    ),
    _mutation(
        "what was begun does not come first", "shared/store/queue.py",
        "session.scalar(interrupted) or job_id", "job_id", MODEL,
    ),
    _mutation(
        "an epoch measured twice with other numbers is no alarm", "shared/store/queue.py",
        "        _check_same(session, rows)\n", "        pass\n",
        f"{EPOCHS}::test_an_epoch_measured_again_with_other_numbers_is_an_alarm",
    ),
    _mutation(
        "an experiment ends with its first job", "shared/store/lifecycle.py",
        "if any(state not in FINISHED_JOB for state in counts):",
        "if all(state not in FINISHED_JOB for state in counts):",
        f"{ENDINGS}::test_an_experiment_succeeds_with_its_last_job", MODEL,
    ),
    _mutation(
        "resuming repeats what had succeeded", "shared/store/lifecycle.py",
        ".where(Job.experiment_id == experiment_id, Job.state != JobState.SUCCEEDED)",
        ".where(Job.experiment_id == experiment_id)",
        f"{LIFECYCLE}::test_resuming_queues_only_the_jobs_that_did_not_finish",
    ),
    _mutation(
        "a purge takes the metrics of others", "shared/store/lifecycle.py",
        "        .where(Run.experiment_id == experiment_id)\n        .order_by(EpochMetrics.run_id",
        "        .order_by(EpochMetrics.run_id",
        f"{LIFECYCLE}::test_purging_in_pieces_leaves_no_row_and_touches_no_other_experiment",
    ),
    _mutation(
        "writers on SQLite take their lock too late", "shared/store/db.py",
        'connection.execute("BEGIN IMMEDIATE")', 'connection.execute("BEGIN")',
        "tests/shared/store/test_db.py::test_writers_take_turns_and_lose_nothing",
    ),
    _mutation(
        "what could not be sent counts as sent", "shared/store/doorbell.py",
        "            _put_back(database, [job_id for job_id, _ in jobs[position:]])\n", "",
        "tests/shared/store/test_doorbell.py::test_with_the_broker_away_jobs_stay_pending_and_it_is_said_quickly",
        MODEL,
    ),
    _mutation(
        "an event may be seen before one with a smaller id", "shared/store/events.py",
        "            connection.execute(select(func.pg_advisory_xact_lock(key)))\n", "            str(key)\n",
        "tests/shared/store/test_event_order.py::test_no_event_is_lost_to_one_that_was_committed_before_it",
    ),
    _mutation(
        "an epoch is committed and not told", "shared/store/queue.py",
        "        events.epoch_committed(session, experiment_id, lease.job_id, rows[0].epoch)\n", "        pass\n",
        f"{EVENTS}::test_an_experiment_is_told_from_its_beginning_to_its_end",
    ),
    _mutation(
        "a clock that jumped is trusted", "shared/store/clock_watch.py",
        "self._steady_from_s = answered_s + self._lease_ttl_s", "self._steady_from_s = answered_s",
        "tests/shared/store/test_clock_watch.py::test_a_worker_that_lives_keeps_its_job_when_the_clock_jumps",
    ),
)  # fmt: skip

_CHECKPOINTS_AND_WORKERS = (
    _mutation(
        "a broken checkpoint is read", "shared/store/checkpoints.py",
        'if hashlib.sha256(content).hexdigest() != pointer["sha256"]:', "if not content:",
        "tests/shared/store/test_checkpoints.py::test_a_broken_checkpoint_falls_back_to_the_one_before",
    ),
    _mutation(
        "a checkpoint may overwrite that of another lease", "shared/store/checkpoints.py",
        'f"{lease.token:06d}-{number:08d}.safetensors"', 'f"{number:08d}.safetensors"',
        "tests/shared/store/test_checkpoints.py::test_the_token_in_the_name_keeps_an_old_owner_from_overwriting",
    ),
    _mutation(
        "a worker that cannot renew goes on while its lease may pass to another", "worker/lease_keeper.py",
        "> self.ttl_s - self.interval_s", "> 2 * self.ttl_s",
        "tests/worker/test_lease_keeper.py::test_who_cannot_renew_stops_before_the_lease_may_pass_to_another",
    ),
    _mutation(
        "a pool listens to the pipes of a child that was killed", "worker/celery_repairs.py",
        "        del pool._fileno_to_outq[child.outqR_fd]", "        pass",
        "tests/worker/test_celery_repairs.py::test_nobody_listens_to_the_pipes_of_a_child_that_was_killed_at_work",
    ),
    _mutation(
        "a process that no message reaches stays", "worker/tasks.py",
        "return num_now == num_before and now_waiting.is_another_message_than(before)", "return False",
        "tests/worker/test_tasks.py::test_a_process_that_idles_while_a_job_is_sent_out_again_is_deaf",
    ),
    _mutation(
        "a write is given up as soon as the database is away", "worker/tasks.py",
        "            if give_up():\n                raise\n", "            raise\n",
        "tests/worker/test_tasks.py::test_a_write_is_repeated_until_the_database_answers",
    ),
)  # fmt: skip

_API = (
    _mutation(
        "workers are rung for before the experiment is stored", "api/endpoints/experiments.py",
        """        answer = service.create(parts.database, checked, posted, max_waiting=most)
""",
        """        parts.bell.ring()
        answer = service.create(parts.database, checked, posted, max_waiting=most)
""",
        "tests/api/test_posting.py::test_workers_are_rung_for_once_everybody_can_see_the_experiment",
    ),
    _mutation(
        "workers are rung for before the jobs wait again", "api/endpoints/experiments.py",
        """    document = service.resume(parts.database, experiment_id, owner=owner, max_waiting=most)
""",
        """    parts.bell.ring()
    document = service.resume(parts.database, experiment_id, owner=owner, max_waiting=most)
""",
        "tests/api/test_experiments.py::test_workers_are_rung_for_once_everybody_can_see_that_jobs_wait_again",
    ),
    _mutation(
        "a key answers to any body", "api/service.py",
        "if row.body_hash != _hash(posted.body):", "if not row.body_hash:",
        "tests/api/test_idempotency.py::test_another_body_under_the_same_key_is_refused",
        "tests/api/test_idempotency.py::test_two_bodies_racing_for_one_key_have_one_winner",
    ),
    _mutation(
        "what anybody has trained is taken over", "shared/cells.py",
        '"owner": owner, ', "",
        "tests/shared/store/test_reuse.py::test_what_another_owner_trained_is_not_taken_over",
        "tests/shared/test_cells.py::test_nobody_is_given_what_another_owner_trained",
    ),
    _mutation(
        "a run is taken over that its job may train again", "shared/store/reuse.py",
        ".scalar_subquery() == JobState.SUCCEEDED", ".scalar_subquery() != JobState.PENDING",
        "tests/shared/store/test_reuse.py::test_a_diverged_run_is_not_taken_over_while_its_job_may_train_it_again",
    ),
    _mutation(
        "everybody changes every experiment", "shared/store/repository.py",
        '    Experiment.owner == bindparam("owner"),\n', "",
        "tests/api/test_keys.py::test_anothers_experiment_does_not_exist",
    ),
    _mutation(
        "everybody sees every experiment", "shared/store/settled.py",
        '    Experiment.owner == bindparam("owner"),\n', "",
        "tests/api/test_keys.py::test_anothers_experiment_does_not_exist",
    ),
    _mutation(
        "a listing holds the experiments of everybody", "shared/store/repository.py",
        "Experiment.owner == wanted.owner, Experiment.deleted_at.is_(None)", "Experiment.deleted_at.is_(None)",
        "tests/api/test_keys.py::test_a_listing_holds_the_owners_experiments_only",
    ),
)  # fmt: skip

_PRECISION = (
    _mutation(
        "seeds are added at the whole error", "shared/evidence/comparison.py",
        "confidence=CONFIDENCE_WITH_TARGET if precision else CONFIDENCE,", "confidence=CONFIDENCE,",
        "tests/api/test_robustness.py::test_with_a_precision_target_all_intervals_make_half_the_error",
    ),
    _mutation(
        "verdicts come while seeds may be added", "shared/evidence/comparison.py",
        "is_final=precision is None or precision.is_final,", "is_final=True,",
        "tests/api/test_robustness.py::test_there_is_no_verdict_as_long_as_seeds_may_be_added",
    ),
    _mutation(
        "the narrowest interval is looked at", "shared/analysis/precision.py",
        "half_widths(scored.degradation_ARS).max()", "half_widths(scored.degradation_ARS).min()",
        "tests/shared/analysis/test_precision.py::test_the_widest_interval_over_activations_and_rates_decides",
    ),
    _mutation(
        "a budget holds for the first seeds only", "shared/plan.py",
        "growth = planned.spec.num_seeds_at_most / planned.spec.num_seeds", "growth = 1.0",
        "tests/shared/test_plan.py::"
        "test_a_precision_target_is_planned_with_its_first_seeds_and_judged_with_all",
    ),
    _mutation(
        "seeds are added by each who looks", "shared/store/growth.py",
        ' and experiment.spec["num_seeds"] == num_seeds else None', " else None",
        "tests/shared/evidence/test_growth.py::test_one_that_looked_too_early_changes_nothing",
    ),
    _mutation(
        "an experiment ends before its seeds are looked at", "shared/store/lifecycle.py",
        "    elif experiment.may_grow:\n        return\n", "",
        "tests/shared/evidence/test_growth.py::test_it_runs_on_while_seeds_are_added",
    ),
)  # fmt: skip

MUTATIONS = _STORE + _CHECKPOINTS_AND_WORKERS + _API + _PRECISION
