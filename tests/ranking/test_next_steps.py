import shlex

from typer.testing import CliRunner

from augury.cli.app import app
from augury.ranking import next_steps
from augury.ranking.report import render
from ranking.test_report import candidate, ranking, seven, several

from pages import Page


def test_the_page_ends_with_the_commands_that_follow():
    first, choose, train = (words for _, words in next_steps.commands(seven()))
    assert first == "augury pretrain speech.csv --pseudo-labels logHNR,ZCR --out encoder"
    assert choose == "augury select ranking.json --best 3 --out weights.json"
    assert train == (
        "augury pretrain speech.csv --from ranking.json --weights weights.json --out group"
    )
    page = Page(render(seven()))
    assert all(words in page.text for words in (first, choose, train))


def test_of_several_kinds_a_group_is_chosen_by_what_compares():
    (_, first), (_, choose), _ = next_steps.commands(several())
    assert "--pseudo-labels F0,speaker " in first
    assert "--mrmr 3" in choose


def test_names_are_quoted():
    (_, words) = next_steps.commands(ranking((candidate("a b", 0.1, 2),), 2))[0]
    assert shlex.split(words)[4] == "a b"
    assert len(next_steps.commands(ranking((candidate("a b", 0.1, 2),), 2))) == 1


def test_without_a_relevant_candidate_there_is_nothing_to_pretrain_with():
    none = ranking((candidate("F0", 0.1, 2, relevant=False),), 2)
    assert next_steps.commands(none) == []
    assert "No candidate is relevant to phone" in next_steps.advice(none)
    assert "What to do next" in Page(render(none)).text


def test_columns_that_unlabelled_speech_lacks_are_named():
    age = candidate("number:age", 0.1, 2, source="number:age")
    text = next_steps.columns_warning(ranking((age, candidate("F0", 0.2, 2)), 2))
    assert text.startswith("number:age is a column of the manifest")
    assert text in Page(render(ranking((age, candidate("F0", 0.2, 2)), 2))).text
    irrelevant = candidate("number:age", 0.1, 2, source="number:age", relevant=False)
    assert next_steps.columns_warning(ranking((candidate("F0", 0.2, 2), irrelevant), 2)) == ""
    assert next_steps.columns_warning(seven()) == ""


def test_the_commands_have_options_that_exist(tmp_path):
    ranked = seven()
    ranked.write(tmp_path)
    runner = CliRunner()
    (_, choose) = next_steps.commands(ranked)[1]
    words = choose.replace("ranking.json", str(tmp_path / "ranking.json"))
    words = words.replace("weights.json", str(tmp_path / "weights.json"))
    outcome = runner.invoke(app, shlex.split(words)[1:])
    assert outcome.exit_code == 0, outcome.output
    help_text = runner.invoke(app, ["pretrain", "--help"], env={"COLUMNS": "200"}).output
    for option in ("--from", "--weights", "--pseudo-labels", "--out"):
        assert option in help_text
