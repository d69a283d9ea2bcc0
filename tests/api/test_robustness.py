from typing import Any

import pytest
from scipy.special import stdtrit
from sqlalchemy import update
from starlette.testclient import TestClient

from shared.store import queue
from shared.store.db import Database
from shared.store.tables import Run
from tests.api.support import ON_DIGITS, TINY, faults, jobs_of, post, train
from tests.api.test_metrics import from_csv


def ask(client: TestClient, experiment_id: str, **query: Any) -> dict[str, Any]:
    response = client.get(f"/experiments/{experiment_id}/robustness", params=query)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_the_degradation_is_what_a_reader_computes_from_the_metrics(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    train(database, experiment_id)
    rows = from_csv(client.get(f"/experiments/{experiment_id}/metrics?format=csv&epoch_from=4"))
    loss = {(row["activation"], row["rate"], row["seed"]): row["val_loss"] for row in rows}
    answer = ask(client, experiment_id)
    assert (answer["complete"], answer["state"], answer["num_seeds"]) == (True, "succeeded", 3)
    assert {entry["activation"] for entry in answer["activations"]} == {"relu", "leaky, 0.2"}
    for entry in answer["activations"]:
        [condition] = entry["conditions"]
        label = entry["activation"]
        expected = sum(loss[label, 0.1, seed] - loss[label, 0.0, seed] for seed in range(3)) / 3
        assert condition["degradation"]["mean"] == pytest.approx(expected, abs=1e-9)


def test_the_spec_decides_unless_the_query_does(client: TestClient, database: Database) -> None:
    experiment_id = post(client, {**TINY, "score": "best"})["id"]
    train(database, experiment_id)
    assert ask(client, experiment_id)["score"] == "best"
    assert ask(client, experiment_id, score="epoch:2")["score"] == "epoch:2"
    assert ask(client, experiment_id)["metric"]["name"] == "loss"


def test_before_the_end_there_is_what_is_complete_so_far(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    assert ask(client, experiment_id)["complete"] is False
    train(database, experiment_id, num_jobs=1)
    answer = ask(client, experiment_id, include="curves,pairs,raw")
    assert answer["complete"] is False
    assert {entry["rank"] for entry in answer["activations"]} == {None}
    assert {entry["conditions"][0]["verdict"] for entry in answer["activations"]} == {None}
    assert {pair["p_adjusted"] for pair in answer["pairs"]} == {None}


def test_optional_parts_are_absent_unless_asked_for(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    train(database, experiment_id)
    plain = ask(client, experiment_id)
    assert {"raw", "pairs"}.isdisjoint(plain)
    assert "curve" not in plain["activations"][0]
    for query in ({"include": "curves,raw"}, {"include": ["curves", "raw"]}, {"include": " raw , curves,"}):
        answer = ask(client, experiment_id, **query)
        assert len(answer["raw"]) == 6
        assert [point["epoch"] for point in answer["activations"][0]["curve"]] == [1, 2, 3, 4]


def test_rates_narrow_the_comparison(client: TestClient, database: Database) -> None:
    experiment_id = post(client, ON_DIGITS)["id"]

    def rates(**query: Any) -> list[float]:
        return [condition["rate"] for condition in ask(client, experiment_id, **query)["activations"][0]["conditions"]]

    assert rates() == [0.2, 0.4]
    assert rates(rate=0.4) == [0.4]
    assert rates(rate=["0.4", "0.2", "0.4"]) == [0.2, 0.4]


@pytest.mark.parametrize(
    ("query", "parameter", "said"),
    [
        ("metric=accuracy", "metric", "use 'loss'"), ("metric=f1", "metric", "'accuracy'"),
        ("score=epoch:5", "score", "only 4 epochs"), ("score=epoch:0", "score", "pattern"),
        ("score=last", "score", "pattern"), ("rate=0.3", "rate", "its rates are 0.1"), ("rate=0", "rate", "0.1"),
        ("rate=1.5", "rate", "less than 1"), ("include=everything", "include", "'curves'"),
        ("include=raw,everything", "include", "'curves'"), ("includes=raw", "includes", "does not exist"),
        ("score=epoch:99999", "score", "epochs"),
    ],
)  # fmt: skip
def test_a_bad_parameter_is_named_with_what_is_allowed(
    sqlite_client: TestClient, query: str, parameter: str, said: str
) -> None:
    response = sqlite_client.get(f"/experiments/{post(sqlite_client)['id']}/robustness?{query}")
    assert said in faults(response)[parameter]


def test_classification_has_both_metrics(client: TestClient) -> None:
    experiment_id = post(client, ON_DIGITS)["id"]
    assert ask(client, experiment_id)["metric"]["name"] == "accuracy"
    assert ask(client, experiment_id, metric="loss")["metric"]["name"] == "loss"


SIX_SEEDS: dict[str, Any] = {**TINY, "num_seeds": 6, "margin": {"loss": 0.05}}


def test_pairs_verdicts_and_memory_reach_the_client(client: TestClient, database: Database) -> None:
    """The imagined runs lose 0.1 (1 + seed / 7), and 0.001 for each place that a dirty run is behind its clean one."""
    experiment_id = post(client, SIX_SEEDS)["id"]
    train(database, experiment_id)
    answer = ask(client, experiment_id, include="pairs")
    [degradation, dirty] = answer["pairs"]
    assert (degradation["a"], degradation["b"], degradation["of"]) == ("relu", "leaky, 0.2", "degradation")
    assert (degradation["family"], dirty["family"], dirty["of"]) == ("primary", "exploratory", "dirty")
    # Twelve places of runs lie between the two: clean and dirty of the first.
    assert dirty["difference"] == pytest.approx(-0.012)
    assert dirty["probability_a_lower"]["value"] == 1.0
    for entry in answer["activations"]:
        [condition] = entry["conditions"]
        assert condition["degradation"]["mean"] == pytest.approx(0.1 * (1 + 2.5 / 7) + 0.006)
        assert (condition["verdict"], condition["provisional"]) == ("not_learned", False), "the null score is 0.1"
        assert condition["memorization"] == pytest.approx(0.1)
    relu = next(entry for entry in answer["activations"] if entry["activation"] == "relu")
    assert relu["conditions"][0]["relative_error"] == 100.0


def test_another_metric_or_score_than_the_specs_is_exploratory(client: TestClient, database: Database) -> None:
    experiment_id = post(client, SIX_SEEDS)["id"]
    train(database, experiment_id)
    answer = ask(client, experiment_id, include="pairs", score="epoch:2")
    assert answer["exploratory"] is True
    assert {pair["family"] for pair in answer["pairs"]} == {"exploratory"}
    assert ask(client, experiment_id, score="final")["exploratory"] is False


def test_a_fixed_split_is_said_to_describe_retraining(client: TestClient, database: Database) -> None:
    experiment_id = post(client, ON_DIGITS)["id"]
    answer = ask(client, experiment_id)
    assert answer["inference_scope"] == "fixed_split"
    assert any("retraining" in warning for warning in answer["warnings"])


def test_splits_drawn_for_each_seed_leave_approximate_t_intervals(client: TestClient, database: Database) -> None:
    dataset = {"kind": "digits", "split": "per_seed", "train_size": 1000, "val_size": 500}
    experiment_id = post(client, {**ON_DIGITS, "dataset": dataset, "num_seeds": 6, "metric": "loss"})["id"]
    train(database, experiment_id)
    answer = ask(client, experiment_id, include="curves,pairs")
    assert (answer["inference_scope"], answer["approximate"]) == ("resampled_split", True)
    for condition in answer["activations"][0]["conditions"]:
        degradation = condition["degradation"]
        half_width = stdtrit(5, 0.975) * degradation["sd"] * (1 / 6 + 500 / 1000) ** 0.5
        assert degradation["ci_high"] - degradation["mean"] == pytest.approx(half_width)
        assert degradation["p_value"] is None
        assert condition["noninferiority_p"] is not None
    assert {pair["p_adjusted"] for pair in answer["pairs"]} == {None}


def test_a_single_seed_is_answered_with_estimates(client: TestClient, database: Database) -> None:
    experiment_id = post(client, {**TINY, "num_seeds": 1})["id"]
    train(database, experiment_id)
    answer = ask(client, experiment_id, include="curves,pairs,raw")
    for entry in answer["activations"]:
        assert entry["conditions"][0]["degradation"]["mean"] is not None
        assert entry["conditions"][0]["verdict"] == "inconclusive"


def test_more_comparisons_than_anyone_reads_are_refused(sqlite_client: TestClient) -> None:
    activations = [{"kind": "leaky_relu", "negative_slope": n / 100} for n in range(1, 91)]
    rates = [0.1, 0.2, 0.3, 0.4]
    experiment_id = post(sqlite_client, {**TINY, "activations": activations, "corruption": {"rates": rates}})["id"]
    path = f"/experiments/{experiment_id}/robustness"
    said = faults(sqlite_client.get(f"{path}?include=pairs"))["include"]
    assert "36045 comparisons" in said
    assert "one 'rate' each" in said
    assert sqlite_client.get(f"{path}?include=pairs&rate=0.1").status_code == 200


def test_an_answer_is_made_once_as_long_as_nothing_changes(
    client: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment_id = post(client)["id"]
    train(database, experiment_id, num_jobs=1)
    before = ask(client, experiment_id)
    with monkeypatch.context() as patch:
        patch.setattr("shared.evidence.comparison.robustness_document", None)
        assert ask(client, experiment_id) == before
    assert "raw" in ask(client, experiment_id, include="raw"), "another question has another answer"
    with database.write() as session:
        session.execute(update(Run).values(state="succeeded"))
    assert ask(client, experiment_id) != before


def test_an_unchanged_comparison_is_neither_computed_nor_sent_again(
    client: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment_id = post(client)["id"]
    train(database, experiment_id)
    path = f"/experiments/{experiment_id}/robustness"
    tag = client.get(path).headers["etag"]

    def fail(*_arguments: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("shared.evidence.comparison.robustness_document", fail)
    response = client.get(path, headers={"If-None-Match": tag})
    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["cache-control"] == "no-cache"


def test_every_change_and_every_other_question_changes_the_tag(client: TestClient, database: Database) -> None:
    document = {**TINY, "activations": ["relu"], "corruption": {"rates": [0.2, 0.4]}}
    experiment_id = post(client, document)["id"]
    path = f"/experiments/{experiment_id}/robustness"
    questions = ("", "?score=best", "?rate=0.2", "?include=raw", "?include=raw,curves")
    tags = [client.get(path + question).headers["etag"] for question in questions]
    assert client.get(f"{path}?include=curves&include=raw").headers["etag"] == tags[-1]
    both = client.get(f"{path}?rate=0.2&rate=0.4").headers["etag"]
    assert client.get(f"{path}?rate=0.4&rate=0.2").headers["etag"] == both
    train(database, experiment_id, num_jobs=1, epochs=2, complete=False)
    tags.append(client.get(path).headers["etag"])
    train_on(database, experiment_id)
    tags.append(client.get(path).headers["etag"])
    assert len(set(tags)) == len(tags)


def test_a_job_that_starts_anew_changes_the_tag_though_it_gets_as_far_as_before(
    client: TestClient, database: Database
) -> None:
    experiment_id = post(client, {**TINY, "activations": ["relu"]})["id"]
    path = f"/experiments/{experiment_id}/robustness"
    train(database, experiment_id, num_jobs=1, epochs=2, complete=False)
    before = client.get(path).headers["etag"]
    job_id = jobs_of(database, experiment_id)[0]
    with database.write() as session:
        queue.release(session, queue.Lease(job_id, 1))
    train(database, experiment_id, num_jobs=1, epochs=2, complete=False)
    assert client.get(path).headers["etag"] != before


def train_on(database: Database, experiment_id: str) -> None:
    lease = queue.Lease(jobs_of(database, experiment_id)[0], 1)
    with database.write() as session:
        queue.complete(session, lease)


# --- a precision target

UNTIL: dict[str, Any] = {**TINY, "until": {"ci_half_width": 1.0, "max_seeds": 20}}


def test_with_a_precision_target_all_intervals_make_half_the_error(client: TestClient, database: Database) -> None:
    experiment_id = post(client, UNTIL)["id"]
    train(database, experiment_id)
    answer = ask(client, experiment_id)
    assert (answer["confidence"], answer["num_seeds"], answer["complete"]) == (0.975, 5, True)
    widths = []
    for entry in answer["activations"]:
        degradation = entry["conditions"][0]["degradation"]
        widths.append(stdtrit(4, 1 - 0.05 / 4) * degradation["sd"] / 5**0.5)
        assert degradation["ci_high"] - degradation["mean"] == pytest.approx(widths[-1])
    assert answer["precision"] == {
        "target": 1.0, "half_width": pytest.approx(max(widths)), "reached": True, "num_seeds": 5, "max_seeds": 20,
        "overall_confidence": 0.95,
    }  # fmt: skip
    assert any("take at least 7" in warning for warning in answer["warnings"]), "2 / 2^6 is above 0.025"


def test_a_target_that_all_seeds_did_not_reach_is_said_with_ways_out(client: TestClient, database: Database) -> None:
    experiment_id = post(client, {**TINY, "until": {"ci_half_width": 1e-6, "max_seeds": 5}})["id"]
    train(database, experiment_id)
    answer = ask(client, experiment_id)
    assert (answer["complete"], answer["precision"]["reached"]) == (True, False)
    assert answer["activations"][0]["conditions"][0]["verdict"] is not None
    assert "was not reached with 5 seeds" in answer["warnings"][0]
    assert "'until.max_seeds'" in answer["warnings"][0]


def test_there_is_no_verdict_as_long_as_seeds_may_be_added(client: TestClient, database: Database) -> None:
    experiment_id = post(client, {**TINY, "until": {"ci_half_width": 1e-6, "max_seeds": 20}})["id"]
    before = ask(client, experiment_id)
    assert (before["precision"]["half_width"], before["precision"]["reached"]) == (None, False)
    train(database, experiment_id)
    answer = ask(client, experiment_id)
    assert answer["complete"] is False
    assert answer["activations"][0]["conditions"][0]["verdict"] is None
    assert answer["activations"][0]["rank"] is None


def test_the_precision_is_that_of_the_specs_own_question(client: TestClient, database: Database) -> None:
    experiment_id = post(client, {**UNTIL, "until": {"max_seeds": 5}, "margin": {"loss": 0.5}})["id"]
    train(database, experiment_id)
    own, other = ask(client, experiment_id), ask(client, experiment_id, score="best")
    assert other["exploratory"] is True
    assert other["precision"] == own["precision"]
    assert own["precision"]["target"] == 0.25
    assert own["confidence"] == other["confidence"] == 0.975


def test_without_a_precision_target_nothing_is_said_of_one(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    train(database, experiment_id)
    answer = ask(client, experiment_id)
    assert "precision" not in answer
    assert answer["confidence"] == pytest.approx(0.95)
