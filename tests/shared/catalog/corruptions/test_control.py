from shared.catalog.corruptions.control import NoDirt
from tests.shared.catalog.corruptions.support import dataset_for, dirty


def test_nothing_is_corrupted_at_any_rate() -> None:
    rows, clean = dirty(NoDirt(rates=(0.2, 0.8)), 0.8), dataset_for(NoDirt())
    assert rows.inputs is clean.train_inputs
    assert rows.targets is clean.train_targets
    assert (rows.realised_rate, len(rows.rows)) == (0.0, 0)


def test_every_arm_and_trial_draws_from_a_seed_of_its_own() -> None:
    corruption = NoDirt(rates=(0.2, 0.8))
    seeds = [corruption.seed_of_arm(seed, rate) for seed in range(100) for rate in (0.0, 0.2, 0.8)]
    assert len(set(seeds)) == 300
    assert seeds[::3] == list(range(100)), "the clean arm is that of any other experiment"
    assert min(seeds[1::3]) > 10**6, "none is the seed of another trial"


def test_arms_do_not_depend_on_the_other_rates() -> None:
    alone, beside = NoDirt(rates=(0.2,)), NoDirt(rates=(0.1, 0.2))
    assert alone.seed_of_arm(5, 0.2) == beside.seed_of_arm(5, 0.2)
