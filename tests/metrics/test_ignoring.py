"""What training with learned weights gained, on numbers worked by hand."""

from __future__ import annotations

import duckdb

from einfluence.metrics import per_probe
from tests.metrics.trained import remove, trained_store

# q and r judge; q1 (by the end of its id) is of the half that the weights were learned on; a is in the set.
FULL = {"a": -1.0, "q": -2.0, "r": -4.0, "q1": -3.0}
LEARNED = {"a": -9.0, "q": -1.0, "r": -4.5, "q1": -0.5}
SHUFFLED = ({"a": -9.0, "q": -1.5, "r": -5.0, "q1": -3.0}, {"a": -9.0, "q": -2.0, "r": -4.0, "q1": -4.0})
CELLS = {"leave_one_out": {(probe, query): 0.5 for probe in "abcd" for query in FULL}}


def add(store: duckdb.DuckDBPyConnection, gone: str, said: dict[str, float], method: str, lr: float = 0.5) -> None:
    remove(store, "abcd", gone, said, kind="ignore", method=method, json=f'{{"steps": 10, "lr": {lr}}}')


def gains(store: duckdb.DuckDBPyConnection) -> dict[str, dict[str, tuple[float, float | None]]]:
    found: dict[str, dict[str, tuple[float, float | None]]] = {}
    for row in per_probe(store).to_pylist():
        if row["desideratum"] == "ignoring":
            found.setdefault(row["variant"], {})[row["probe_id"]] = (row["value"], row["null_value"])
    return found


def test_a_gain_is_that_of_the_learned_weights_beside_the_mean_of_the_shuffled_ones() -> None:
    store = trained_store("abcd", full=FULL, cells=CELLS)
    add(store, "a", LEARNED, "learned")
    for gone, said in zip("bc", SHUFFLED, strict=True):
        add(store, gone, said, "shuffled")
    found = gains(store)
    assert found == {
        "gain": {"q": (1.0, 0.25), "r": (-0.5, -0.5)},  # nulls (0.5 + 0)/2 and (-1 + 0)/2
        "gain, learned on": {"q1": (2.5, -0.5)},
        "shuffled": {"q": (0.25, 0.0), "r": (-0.5, 0.0)},
        "shuffled, learned on": {"q1": (-0.5, 0.0)},
    }


def test_several_settings_have_rows_of_their_own() -> None:
    store = trained_store("abcd", full=FULL, cells=CELLS)
    add(store, "a", LEARNED, "learned")
    add(store, "b", SHUFFLED[0], "learned", lr=2.0)
    found = gains(store)
    assert set(found) == {f"{name}, 10 steps at {lr}" for name in ("gain", "gain, learned on") for lr in ("0.5", "2.0")}
    assert found["gain, 10 steps at 2.0"]["q"] == (0.5, None)


def test_what_a_second_stage_trained_on_is_not_held_out() -> None:
    store = trained_store("abcd", full=FULL, cells=CELLS)
    store.execute("""update training_sets set json = '{"then": {"samples": ["q"]}}'""")
    add(store, "a", LEARNED, "learned")
    assert set(gains(store)["gain"]) == {"r"}
