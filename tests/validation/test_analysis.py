import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augury.validation.analysis import Analysis, analyse
from augury.validation.estimators import DEFAULT, ESTIMATORS, RECOMMENDED
from augury.validation.measurements import Measurement
from augury.validation.recipe import PretrainingRecipe, Recipe, RecipeTask, Regime
from augury.validation.report import draw_figures, render, write_report

from pages import Page

NAMES = ("own:rms", "own:flux", "own:centroid", "own:slope", "own:noise")
#: Errors of two tasks, best candidate first; noise is the worst.
ERRORS = {"a": (0.1, 0.2, 0.3, 0.4, 0.5), "b": (0.3, 0.2, 0.25, 0.4, 0.6)}
RECIPE = Recipe(
    "r<b>", Path("r.toml"), NAMES, PretrainingRecipe("m.csv"), (Regime("alone"),),
    tuple(RecipeTask(name, "classify", "m.csv", "y") for name in ERRORS), useless="own:noise",
)  # fmt: skip


def row(candidate, task, error, seed=0, regime="alone"):
    return Measurement(
        regime, candidate, task, "frozen", seed, 0, "error", error, (error - 0.01, error + 0.01),
        60.0, 120.0, "k", "cpu", "2026-01-01",
    )  # fmt: skip


def rows(mel=0.5, random=0.6, reconstruction=0.4, noise=0.0):
    measurements = []
    for task, errors in ERRORS.items():
        base = {"mel": mel, "random": random, "reconstruction": reconstruction}
        measurements += [row(name, task, error, regime="baseline") for name, error in base.items()]
        for seed in (0, 1):
            measurements += [
                row(name, task, error + noise * seed * (-1) ** k, seed)
                for k, (name, error) in enumerate(zip(NAMES, errors, strict=True))
            ]
    return measurements


def estimates(**choices):
    """All estimators reverse the order of the candidates, except those whose values are given."""
    table = {name: dict(zip(NAMES, (5, 4, 3, 2, 1), strict=True)) for name in ESTIMATORS}
    for name, values in choices.items():
        table[name] = dict(zip(NAMES, values, strict=True))
    return {task: {"table": table, "job_seconds": 36.0} for task in ERRORS}


def analysis(measurements=None, **choices):
    return analyse(RECIPE, estimates(**choices), measurements or rows(), {})


def test_gates_are_open_if_all_conditions_are_met():
    for gate in analysis().gates:
        assert gate.open
        assert (gate.learns, gate.useless_place) == (True, 1.0)
        assert gate.ceiling == pytest.approx(1)
        assert gate.mel == 0.5


@pytest.mark.parametrize(
    ("measurements", "reason"),
    [
        (
            rows(reconstruction=0.55),
            "does not help: reconstruction gives 55.0%, log-mel 50.0%",
        ),
        (rows(random=0.3), "a random encoder 30.0%"),
        (rows(mel=0.35, random=0.3), "a random encoder 30.0%"),
        ([m for m in rows() if m.candidate != "mel"], "log-mel, a random encoder or"),
        (
            [m for m in rows() if (m.candidate, m.pretrain_seed) != (NAMES[1], 1)],
            "1 of 10 errors are missing",
        ),
        (rows(noise=0.3), "the order does not repeat: Spearman"),
        ([m for m in rows() if m.pretrain_seed == 0], "too few candidates have two seeds"),
        (
            [replace(m, error=0.15) if m.candidate == "own:noise" else m for m in rows()],
            "own:noise is no worse than 75% of the other",
        ),
    ],
)
def test_a_closed_gate_has_a_reason(measurements, reason):
    gate = analysis(measurements).gates[0]
    assert not gate.open
    assert any(reason in text for text in gate.reasons), gate.reasons


def test_estimators_are_compared_with_the_mean_over_seeds():
    result = analysis(**{DEFAULT: (1, 2, 3, 4, 5)})
    by = {(verdict.task, verdict.estimator): verdict for verdict in result.verdicts}
    perfect, backwards = by["a", DEFAULT], by["a", "variance"]
    assert (perfect.spearman, perfect.kendall) == pytest.approx((1, 1))
    assert perfect.spearman_p == pytest.approx(1 / 120)  # one order of 5!
    assert (perfect.regret, perfect.ndcg, perfect.beats_random) == pytest.approx((0, 1, 1))
    assert backwards.spearman == pytest.approx(-1)
    assert backwards.regret == pytest.approx(0.4)
    assert backwards.regret_of_3 == pytest.approx(0.2)
    assert by["b", DEFAULT].spearman == pytest.approx(1 - 6 * 6 / 120)
    assert len(result.verdicts) == 2 * len(ESTIMATORS)


def test_a_candidate_without_an_estimate_is_excluded_for_all_estimators():
    result = analysis(variance=(5, 4, None, 2, 1))
    assert {verdict.candidates for verdict in result.verdicts} == {4}


def test_the_best_estimator_on_one_task_is_tried_on_the_other():
    result = analysis(**{DEFAULT: (1, 2, 3, 4, 5), "variance": (3, 1, 2, 4, 5)})
    by = {confirmation.task: confirmation for confirmation in result.confirmations}
    assert by["a"].estimator == "variance"  # the best on b
    assert by["a"].elsewhere == pytest.approx(1)
    assert by["a"].here == pytest.approx(1 - 6 * 6 / 120)
    assert by["b"].estimator == DEFAULT
    assert by["b"].recommended == pytest.approx(-0.7)  # what is recommended was given backwards


def test_groups_and_hours():
    pairs = [("best", 0.1), ("best", 0.1), ("worst", 0.3), ("worst", 0.3)]
    groups = [row("x", "a", error, k % 2, regime) for k, (regime, error) in enumerate(pairs)]
    result = analyse(RECIPE, estimates(), rows(), {"a": groups})
    best, worst = result.groups
    assert (best.group, best.mean, best.standard_deviation) == ("best", 0.1, 0.0)
    assert (worst.errors, worst.members) == ((0.3, 0.3), ("x", "x"))
    # An encoder's pretraining counts once, whatever the number of tasks that judge it.
    assert result.core_hours == pytest.approx((13 * 120 + 26 * 60) / 3600)
    assert result.ranking_hours == pytest.approx(72 / 3600)


def test_a_measurement_is_restored_from_its_cells():
    measurement = row("a", "t", 0.123456789)
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(Measurement.COLUMNS)
    table.writerow(measurement.cells())
    table.writerow(replace(measurement, interval=None).cells())
    text.seek(0)
    assert [Measurement.from_cells(cells) for cells in csv.DictReader(text)] == [
        measurement,
        replace(measurement, interval=None),
    ]


def test_the_page_shows_names_as_they_are_and_the_same_each_time(tmp_path):
    recipe = replace(RECIPE, name="<script>alert(1)</script>$x$")
    result = analysis()
    page = render(result, recipe)
    assert render(result, recipe) == page
    assert "<script" not in page
    text = Page(page).text
    assert "<script>alert(1)</script>$x$" in text
    assert RECOMMENDED in text
    drawn = draw_figures(result)
    assert {content[:8] for name, content in drawn.items() if name.endswith(".png")} == {
        b"\x89PNG\r\n\x1a\n"
    }
    assert draw_figures(result) == drawn
    result.write(tmp_path)
    path = write_report(result, recipe, tmp_path)
    assert path.read_text("utf-8") == page
    assert (tmp_path / "correlations.csv").read_text().count("\n") == 1 + len(result.verdicts)


def test_an_analysis_without_any_measurement():
    result = analyse(RECIPE, estimates(), [], {})
    assert isinstance(result, Analysis)
    assert result.gates == ()
    assert "No encoder was evaluated yet" in render(result, RECIPE)
    assert np.isfinite(result.saved_energy)


def test_an_analysis_is_read_back_as_it_was_written(tmp_path):
    groups = [row("x", "a", 0.1 + k, k, "best") for k in range(2)]
    failed = [m for m in rows() if (m.candidate, m.pretrain_seed) != (NAMES[1], 1)]
    analysis = analyse(RECIPE, estimates(variance=(5, 4, None, 2, 1)), failed, {"a": groups})
    analysis.write(tmp_path / "first")
    again = Analysis.read(tmp_path / "first")
    assert again.gates == analysis.gates
    assert again.verdicts == analysis.verdicts
    assert again.groups == analysis.groups
    assert render(again, RECIPE) == render(analysis, RECIPE)
    again.write(tmp_path / "second")
    for file in (tmp_path / "first").iterdir():
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes(), file.name


def test_a_file_that_is_not_an_analysis_is_named(tmp_path):
    (tmp_path / "analysis.json").write_text('{"gates": 3}')
    with pytest.raises(ValueError, match=r"analysis\.json: not an analysis"):
        Analysis.read(tmp_path)
    with pytest.raises(ValueError, match=r"analysis\.json: there is no such"):
        Analysis.read(tmp_path / "none")
