"""Options come from the declarations of settings, and from nowhere else."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer
from typer.testing import CliRunner

from augury.cli.app import app
from augury.cli.exits import plain_exits
from augury.cli.options import with_settings
from augury.downstream.settings import EvaluateSettings
from augury.pretraining.settings import PretrainSettings
from augury.ranking.settings import RankSettings
from augury.settings import Settings, declarations, option_name, setting

RUN = CliRunner(env={"COLUMNS": "200"})


@dataclass(frozen=True)
class Baking(Settings):
    """One line a setting, and nothing anywhere else."""

    of_what = "a cake"

    flour: Annotated[float, setting("how much flour", 0, 5000, unit="grams")] = 250.0
    oven: Annotated[Literal["gas", "electric"], setting("the oven")] = "gas"
    layers: Annotated[int, setting("layers", 1, 9)] = 1
    icing: Annotated[bool, setting("sugar on top")] = True
    spices: Annotated[tuple[str, ...], setting("a spice; may be given again")] = ()


def bake(*, defaults):
    baker = typer.Typer()
    baked = []

    @with_settings(Baking, panels=["Baking"], defaults=defaults)
    def command(name: str, *, choices: dict[str, Any]) -> None:
        baked.append((name, Baking.from_choices(choices)))

    baker.command()(plain_exits(command))
    return baker, baked


def test_a_line_of_settings_is_an_option_a_check_a_key_and_a_command():
    for defaults in (False, True):
        baker, baked = bake(defaults=defaults)
        words = [
            "--flour",
            "300",
            "--no-icing",
            "--spices",
            "salt",
            "--spices",
            "anise",
            "--oven",
            "electric",
        ]
        result = RUN.invoke(baker, ["torte", *words])
        assert result.exit_code == 0, result.output
        ((name, cake),) = baked
        assert name == "torte"
        assert cake == Baking(300.0, "electric", 1, False, ("salt", "anise"))
        assert cake == Baking.from_choices(cake.to_dict())  # keys of TOML and recipes
        again = RUN.invoke(baker, ["torte", *cake.to_options(Baking())])  # the reproduced command
        assert again.exit_code == 0, again.output
        assert baked[1][1] == cake
        bad = RUN.invoke(baker, ["torte", "--layers", "10"])
        assert bad.exit_code == 2
        assert "layers is 10, but must be a whole number from 1 to 9" in bad.output
    output = RUN.invoke(baker, ["--help"]).output
    for text in (
        "Baking",
        "How much flour (grams; 0 to 5000).",
        "gas, electric",
        "[default: 250.0]",
    ):
        assert text in output


def test_every_setting_of_a_stage_is_an_option_of_its_command():
    cases = (
        ("rank", RankSettings, set()),
        ("pretrain", PretrainSettings, {"encoder"}),  # a table: for presets alone
        ("evaluate", EvaluateSettings, set()),
    )
    for command, stage, without in cases:
        output = RUN.invoke(app, [command, "--help"], env={"COLUMNS": "300"}).output
        for name in set(declarations(stage)) - without:
            assert option_name(name) in output or f"--no-{name}" in output, (command, name)


def test_defaults_of_a_ranking_are_those_of_its_settings():
    output = " ".join(RUN.invoke(app, ["rank", "--help"], env={"COLUMNS": "300"}).output.split())
    for name, declaration in declarations(RankSettings).items():
        if isinstance(declaration.default, int | float) and declaration.default is not True:
            assert f"[default: {declaration.default}]" in output, name
