"""Clients, workers and reconcilers that do what they like in any order, for Hypothesis to play."""

from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, multiple, precondition, rule
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.errors import ActrobustError
from shared.plan import plan
from shared.settings import Settings
from shared.store import lifecycle, presence, queue, repository
from shared.store.doorbell import dispatch
from shared.store.keys import LOCAL_OWNER
from shared.store.queue import Lease, MetricsRow
from shared.store.states import FINISHED_EXPERIMENT
from shared.store.tables import Run
from shared.store.types import new_id
from tests.shared.specs import tiny
from tests.shared.store.compared import MAX_LOSSES, Compared, Write
from tests.shared.store.hands import Hands, Posted
from tests.shared.store.promises import look

TTL_S, NUM_EPOCHS, OWNER = 30, 2, LOCAL_OWNER
WORKERS = [new_id() for _ in range(3)]
SPECS = {
    num_jobs: tiny(activations=["relu", "elu"][:num_jobs], num_seeds=1, training={"epochs": NUM_EPOCHS}, reuse=False)
    for num_jobs in (1, 2)
}


class StoreMachine(RuleBasedStateMachine):
    """One transaction after another, each followed by a comparison of all rows with the model's."""

    posted: Bundle[Posted] = Bundle("posted")
    held: Bundle[Hands] = Bundle("held")

    def __init__(self, compared: Compared, *, broker: Settings, no_broker: Settings) -> None:
        super().__init__()
        self.at, self.model = compared, compared.model
        self.brokers = {False: broker, True: no_broker}
        self.known: list[Posted] = []
        self.newest: dict[str, Hands] = {}
        self.suspects: list[tuple[str, str]] = []

    def attempt(self, write: Write, *, resumed: str | None = None) -> bool:
        """Whether it was done; what was refused by both has changed nothing."""
        try:
            self.at.both(write, resumed=resumed)
        except ActrobustError:
            return False
        return True

    # --- clients

    @precondition(lambda self: len(self.model.experiments) < 2)
    @rule(target=posted, num_jobs=st.sampled_from(sorted(SPECS)))
    def post(self, num_jobs: int) -> Posted:
        spec = SPECS[num_jobs]

        def create(session: Session) -> Posted:
            posted = Posted(repository.create_experiment(session, spec, plan(spec), {}, owner=OWNER).id, {})
            for run in session.scalars(select(Run).where(Run.experiment_id == posted.id).order_by(Run.position)):
                posted.run_ids.setdefault(run.job_id, []).append(run.id)
            return posted

        posted = self.at.write(create)
        self.known.append(posted)
        self.model.post(posted.id, posted.run_ids)
        self.at.compare()
        return posted

    @rule(experiment=posted, what=st.sampled_from(["resume", "cancel", "delete"]))
    def want(self, experiment: Posted, what: str) -> None:
        """A client asks for something, possible or not."""
        if what == "cancel":
            self.ask(experiment.id, lifecycle.start_cancelling, self.model.start_cancelling)
        elif what == "resume":
            self.ask(experiment.id, lifecycle.resume_experiment, self.model.resume, resumed=experiment.id)
        else:
            self.ask(experiment.id, lifecycle.mark_deleted, self.model.delete)

    def ask(
        self, name: str, real: Callable[..., object], modelled: Callable[[str], None], *, resumed: str | None = None
    ) -> None:
        def act(session: Session) -> None:
            real(session, name, owner=OWNER)

        self.attempt((act, partial(modelled, name)), resumed=resumed)

    # --- workers

    @rule(
        target=held, experiment=posted, number=st.integers(0, 1), worker_id=st.sampled_from(WORKERS),
        num_steps=st.integers(0, 4),
    )  # fmt: skip
    def deliver(self, experiment: Posted, number: int, worker_id: str, num_steps: int) -> Any:
        """A message arrives: for the first time, once more, or when all is over."""
        job_ids = sorted(experiment.run_ids, key=self.model.waits, reverse=True)
        hands = self.claim(job_ids[number % len(job_ids)], worker_id)
        if hands is None:
            return multiple()
        for _ in range(num_steps):
            self.step(hands)
        return hands

    def claim(self, job_id: str, worker_id: str) -> Hands | None:
        self.wait(1, then="nothing")  # of two jobs, one was begun first
        real = partial(queue.claim_next, job_id=job_id, worker_id=worker_id, devices=["any"])
        lease = self.at.both((real, partial(self.model.claim_next, job_id, worker_id)))
        if lease is None:
            return None
        [run_ids] = [each.run_ids[lease.job_id] for each in self.known if lease.job_id in each.run_ids]
        hands = Hands(lease, run_ids, self.at.rows.jobs[lease.job_id].checkpoints)
        self.newest[lease.job_id] = hands
        return hands

    def one_of(self, hands: Hands, is_zombie: bool) -> Hands:
        """These hands, whether or not they still hold their job; or those that took it last."""
        return hands if is_zombie else self.newest[hands.lease.job_id]

    @rule(
        hands=held, num_steps=st.integers(1, 5), num_broken=st.integers(0, 2),
        saves=st.booleans(), diverges=st.booleans(), loses_answers=st.booleans(), is_zombie=st.booleans(),
    )  # fmt: skip
    def work(
        self, hands: Hands, num_steps: int, num_broken: int, saves: bool, diverges: bool, loses_answers: bool,
        is_zombie: bool,
    ) -> None:  # fmt: skip
        """Some steps on the way from the claim to the end, until one is refused."""
        hands = self.one_of(hands, is_zombie)
        for _ in range(num_steps):
            if not self.step(hands, num_broken=num_broken, diverges=diverges):
                break
            if loses_answers:
                self.repeat(hands)
            if saves:
                self.checkpoint(hands)

    def step(self, hands: Hands, *, num_broken: int = 0, diverges: bool = False) -> bool:
        if hands.stage == "claimed":
            return self.by(hands, queue.mark_running, self.model.start, then="started")
        if hands.stage == "started":
            hands.resume_from(hands.pointers[num_broken:])
            return self.by(hands, queue.rewind, self.model.rewind, hands.epoch, then="trains")
        if hands.stage == "trains" and hands.epoch < NUM_EPOCHS:
            return self.commit(hands, diverges=diverges)
        return self.by(hands, queue.complete, self.model.complete, then="over")

    def by(
        self, hands: Hands, real: Callable[..., Any], modelled: Callable[..., Any], *arguments: Any, then: str = ""
    ) -> bool:
        """A write under a lease, remembered for the case that its answer is lost."""
        lease = hands.lease
        write: Write = (lambda session: real(session, lease, *arguments), lambda: modelled(lease, *arguments))
        done = self.attempt(write)
        if done:
            hands.last, hands.stage = write, then or hands.stage
        return done

    def commit(self, hands: Hands, *, diverges: bool) -> bool:
        epoch, values = hands.epoch + 1, hands.measure()
        diverged = list(values)[:1] if diverges and len(values) > 1 else []
        done = self.by(hands, _commit_epoch, self.model.commit, epoch, values, diverged)
        if done:
            hands.epoch, hands.diverged = epoch, hands.diverged + diverged
        return done

    @rule(hands=held)
    def repeat(self, hands: Hands) -> None:
        """The answer to its last write was lost: it cannot know whether that got through, and does it again."""
        if hands.last is not None:
            self.attempt(hands.last)

    def checkpoint(self, hands: Hands) -> bool:
        pointers = hands.checkpointed()
        done = self.by(hands, queue.save_checkpoint, self.model.save_checkpoint, pointers)
        if done:
            hands.pointers = pointers
        return done

    @rule(hands=held, is_zombie=st.booleans())
    def renew(self, hands: Hands, is_zombie: bool) -> None:
        hands = self.one_of(hands, is_zombie)
        self.by(hands, _renew, self.model.renew)

    @rule(hands=held, how=st.sampled_from(["drain", "fail", "give up"]), is_zombie=st.booleans())
    def leave(self, hands: Hands, how: str, is_zombie: bool) -> None:
        hands = self.one_of(hands, is_zombie)
        if how == "drain":
            self.by(hands, queue.release, self.model.release)
        elif how == "fail":
            self.by(hands, partial(queue.fail, reason="no"), self.model.fail)
        else:
            self.by(hands, queue.confirm_cancelled, self.model.confirm_cancelled)

    @rule(worker_id=st.sampled_from(WORKERS))
    def announce(self, worker_id: str) -> None:
        self.at.write(lambda session: presence.announce(session, worker_id, device="cpu"))
        self.model.announced_s[worker_id] = self.model.now_s

    # --- time, and the reconciler

    @rule(seconds=st.sampled_from([1, 6, TTL_S, TTL_S + 1]), then=st.sampled_from(["nothing", "look", "reap"]))
    def wait(self, seconds: int, then: str) -> None:
        """Time passes; a reconciler looks for silent workers, and takes their jobs back, perhaps some time later."""
        self.at.set_clock(self.at.clock.now_s + seconds)
        if then != "nothing":
            with self.at.database.read() as session:
                self.suspects = queue.silent_jobs(session, TTL_S)
            assert [job_id for job_id, _ in self.suspects] == self.model.silent_jobs(TTL_S)
        if then == "reap":
            self.reap()

    @rule(hands=held)
    def speak_just_in_time(self, hands: Hands) -> None:
        """A worker's renewal gets through between the look for silent ones and the reaping."""
        self.wait(TTL_S + 1, then="look")
        self.renew(hands, is_zombie=False)
        self.reap()

    @precondition(lambda self: self.suspects)
    @rule()
    def reap(self) -> None:
        """Whoever was silent when last looked for; meanwhile one may have spoken, and another be gone."""
        for job_id, experiment_id in self.suspects:
            real = partial(queue.reap, job_id=job_id, experiment_id=experiment_id, ttl_s=TTL_S, max_losses=MAX_LOSSES)
            self.at.both((real, partial(self.model.reap, job_id, ttl_s=TTL_S, max_losses=MAX_LOSSES)))

    @rule(broker_is_away=st.booleans())
    def ring(self, broker_is_away: bool) -> None:
        rung = dispatch(self.at.database, self.brokers[broker_is_away])
        assert rung == self.model.dispatch(broker_is_away=broker_is_away)
        self.at.compare()

    @precondition(lambda self: self.model.is_untidy())
    @rule(experiment=posted)
    def tidy(self, experiment: Posted) -> None:
        """What is over ends, and what is deleted goes piece by piece."""
        if self.model.is_deleted(experiment.id):
            gone = self.at.write(lambda session: lifecycle.purge_some(session, experiment.id))
            left = {(row.run_id, row.epoch) for row in look(self.at.database).metrics}
            assert gone == self.model.purge(experiment.id, left)
            self.at.compare()
        else:
            finish = partial(lifecycle.finish_if_done, experiment_id=experiment.id)
            self.attempt((finish, partial(self.model.finish, experiment.id)))

    @precondition(lambda self: self.at.num_writes > 25)
    @rule(target=held)
    def everybody_does_their_duty(self) -> Any:
        """Nothing is ever stuck: without any message, one sweep and one worker bring all experiments to their end."""
        self.wait(TTL_S + 1, then="reap")
        for experiment in self.known:
            self.tidy(experiment)
        trained = []
        while waiting := [job_id for job_id in self.model.jobs if self.model.waits(job_id)]:
            trained.append(self.train(waiting[0]))
        assert {row.state for row in self.at.rows.experiments.values()} <= set(FINISHED_EXPERIMENT)
        self.at.num_writes = 0
        return multiple(*trained)

    def train(self, job_id: str) -> Hands:
        hands = self.claim(job_id, WORKERS[0])
        assert hands is not None
        while hands.stage != "over":
            assert self.step(hands)
        return hands


def _renew(session: Session, lease: Lease) -> None:
    queue.renew(session, lease)


def _commit_epoch(session: Session, lease: Lease, epoch: int, values: dict[str, float], diverged: list[str]) -> None:
    rows = [MetricsRow(run_id, epoch, val_loss=value) for run_id, value in values.items()]
    queue.commit_epoch(session, lease, rows, diverged=diverged)
