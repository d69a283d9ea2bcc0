from pathlib import Path

from benchmarks.engine import Workshop, run_engine, train_job
from benchmarks.rivals.cells import cells_of
from shared.plan import plan
from tests.shared.specs import tiny


def test_worker_processes_train_every_network_as_one_process_does(tmp_path: Path) -> None:
    workshop = Workshop("serial", Path("nowhere"), tmp_path)
    spec = tiny(activations=["relu", "tanh", "elu"])
    run = run_engine(spec, workshop, num_workers=2)
    here = {key: losses for job in plan(spec).jobs for key, losses in train_job(spec, job, workshop).val_losses.items()}
    assert run.val_losses == [here[cell.activation.name, cell.rate, cell.seed] for cell in cells_of(spec)]
    assert run.flops_per_s == plan(spec).training_flops / run.wall_s
    assert run.peak_memory_mib > 0
