"""What an undisturbed run of each spec measures: computed once in a process, on the first stack that is asked."""

from sqlalchemy import select

from shared.store.states import FINISHED_EXPERIMENT
from shared.store.tables import Experiment
from tests.faults.specs import REFERENCES, SPECS
from tests.faults.stack import Stack
from tests.worker.processes import Key, measured

Metrics = dict[Key, tuple[object, ...]]

# By the name of the spec that was trained.
_known: dict[str, Metrics] = {}


def undisturbed(stack: Stack, spec: str) -> Metrics:
    """The metrics of a spec, trained on this stack while nothing happens, or on another before."""
    reference = REFERENCES.get(spec, spec)
    if reference not in _known:
        experiment_id = stack.client.post(reference)
        assert ended(stack, experiment_id) == "succeeded", stack.logs()
        _known[reference] = measured(stack.database, experiment_id)
    activations, num_epochs = SPECS[spec]["activations"], SPECS[spec]["training"]["epochs"]
    return {key: row for key, row in _known[reference].items() if key[0] in activations and key[3] <= num_epochs}


def ended(stack: Stack, *experiment_ids: str, timeout_s: float = 90.0) -> str:
    """Wait for the end of experiments; the state of the last one."""
    query = select(Experiment.id, Experiment.state).where(Experiment.id.in_(experiment_ids))

    def states() -> dict[str, str]:
        return stack.ask(lambda session: dict(session.execute(query).all()))

    def over() -> bool:
        return all(state in FINISHED_EXPERIMENT for state in states().values())

    try:
        stack.wait_until(over, "every experiment ends", timeout_s=timeout_s)
    except AssertionError as error:
        raise AssertionError(f"{states()}\n{error}") from None
    return states()[experiment_ids[-1]]
