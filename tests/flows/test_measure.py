"""The main flow: its steps are task runs that Prefect has on record."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from einfluence import arms
from flows.measure import measure
from flows.server import a_server
from tests import test_ignoring as ignoring
from tests import test_training_sets as training_sets
from tests.test_arms import CENTRED_DOT, study

SGD = "{adapter: full, optimizer: sgd, lr: 0.1}"


# Prefect's clients leave sockets to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_an_estimator_fits_and_what_trainings_of_a_set_say_are_steps_of_their_own(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arms, "_registered", {**arms.estimators(), "centred_dot": CENTRED_DOT})
    arms._union.cache_clear()
    spec = study(tmp_path, gpt2_folder)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with a_server(port) as url, temporary_settings({PREFECT_API_URL: url}):
        assert measure(str(spec), str(tmp_path / "store")).computed == 16
        within = training_sets.study(tmp_path, gpt2_folder, f"{{estimator: leave_one_out, recipe: {SGD}}}")
        within.write_text(within.read_text().replace("batch_size: 2", "batch_size: 2, saliency: 1"))
        assert measure(str(within), str(tmp_path / "store")).computed == (5 + 4) * 5
        for name, text in ignoring.MORE.items():
            monkeypatch.setitem(training_sets.TEXTS, name, text)
        acting = ignoring.study(tmp_path, gpt2_folder, "{ignore: {steps: 1, draws: 1}}")
        assert measure(str(acting), str(tmp_path / "store")).computed == (5 + 4 + 2) * 9
        with get_client(sync_client=True) as client:
            # What another test's last tasks say may arrive at this server late.
            here = {run.id for run in client.read_flow_runs() if str(tmp_path) in run.name}
            mine = [run for run in client.read_task_runs() if run.flow_run_id in here]
            runs = sorted(mine, key=lambda run: run.expected_start_time)
    arms._union.cache_clear()
    assert [run.name.split(":")[-1].strip() for run in runs] == [
        "curate main", "plan missing cells", "fit", "4 probes x 4 queries", "score and report",
        "curate main", "plan missing cells", "5 trainings x 5 queries",
        "attribute leave_one_out full, SGD, lr 0.1 seed 0", "words full, SGD, lr 0.1 seed 0", "score and report",
        "curate main", "plan missing cells", "5 trainings x 9 queries",
        "attribute leave_one_out full, SGD, float64, lr 0.3 seed 0", "learn weights", "act", "2 trainings x 9 queries",
        "score and report",
    ]  # fmt: skip
    assert all(run.state is not None and run.state.is_completed() for run in runs)
