"""What the rules of the state machine hand around: experiments that were posted, and jobs that are held."""

from dataclasses import dataclass, field

from shared.store.queue import Lease
from tests.shared.store.compared import Write
from tests.shared.store.model import Pointers


@dataclass(frozen=True)
class Posted:
    """An experiment that somebody posted, and the runs of its jobs; it may be gone by now."""

    id: str
    run_ids: dict[str, list[str]]


@dataclass
class Hands:
    """A worker with a job in its hands. Nobody tells it when it has lost them: it goes on until it is refused."""

    lease: Lease
    run_ids: list[str]
    pointers: Pointers
    stage: str = "claimed"
    epoch: int = 0
    diverged: list[str] = field(default_factory=list)
    last: Write | None = None

    def resume_from(self, pointers: Pointers) -> None:
        """Take what the newest of these checkpoints holds, or begin anew."""
        self.epoch = pointers[0]["epoch"] if pointers else 0
        self.diverged = list(pointers[0]["diverged"]) if pointers else []

    def checkpointed(self) -> Pointers:
        return [{"epoch": self.epoch, "diverged": list(self.diverged)}, *self.pointers][:2]

    def measure(self) -> dict[str, float]:
        """The next epoch of every run that goes on; each lease has numbers of its own, so that they tell who wrote."""
        open_runs = [run_id for run_id in self.run_ids if run_id not in self.diverged]
        return {run_id: 100.0 * self.lease.token + 10 * self.epoch + n for n, run_id in enumerate(open_runs)}
