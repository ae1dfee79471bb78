from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from augury.pretraining import curves, losses
from augury.pretraining.config import Config
from augury.pretraining.report import card, render
from augury.pretraining.settings import PretrainSettings
from augury.pretraining.targets import Target
from augury.pseudolabels.opensmile import LICENCE
from augury.report import canvas

from pages import Page

SECTIONS = ("learned", "curves", "use", "reading", "targets", "data", "reproduce")
HOSTILE = "<script>alert('x')</script>$\\frac{1}$ \"&amp; --> ]]> {{ 7*7 }} `a``b` | [l](u) url(#b)"
LOUDNESS = "opensmile:GeMAPSv01b:Loudness_sma3"

Sample = tuple[Config, list[dict[str, Any]]]


def number(name: str, source: str = "", weight: float = 1.0) -> Target:
    return Target(name, source or f"function:{name}", weight, np.array([0.4]), np.array([0.1]))


def categories(name: str, *named: str) -> Target:
    shares = np.arange(1.0, len(named) + 1)
    return Target(name, name, 1.0, shares / shares.sum(), np.ones(len(named)), named)


def speech(mel: float = 1.0, mfcc: float = 1.0) -> list[Target]:
    bands, coefficients = np.linspace(-60, -20, 80), np.linspace(-300, 40, 40)
    return [
        Target("mel", "mel", mel, bands, np.full(80, 15.0)),
        Target("mfcc", "mfcc", mfcc, coefficients, np.full(40, 9.0)),
    ]


def sample(
    *labels: Target,
    epochs: int = 4,
    kept: int = 0,
    ratios: dict[str, float] | None = None,
    validation: bool = True,
    own: list[Target] | None = None,
    **result: Any,
) -> Sample:
    """A run whose workers end at these ratios, 0.5 if not given; a constant guess costs each 2."""
    targets = [*(speech() if own is None else own), *labels]
    workers = [target for target in targets if target.weight]
    kept = kept or epochs
    history = []
    for epoch in range(1, epochs + 1):
        held_out = {}
        for target in workers:
            ratio = (ratios or {}).get(target.name, 0.5)
            held_out[target.name] = 2 * (ratio + 0.1 * abs(epoch - kept))
        training = {name: 0.9 * value for name, value in held_out.items()}
        for values in (training, held_out):
            values["loss"] = sum(target.weight * values[target.name] for target in workers)
        history.append(
            {"epoch": epoch, "training": training, "validation": held_out if validation else {}}
        )
    best = history[kept - 1]
    about = {
        "epochs": epochs,
        "best_epoch": kept,
        "batches": 33,
        "skipped": [],
        "training": best["training"],
        "validation": best["validation"],
        "seconds": 50.0,
        "audio_seconds": 5600.0,
        "parameters": 621824,
    }
    if validation:
        about["constant_guess"] = {target.name: 2.0 for target in workers}
    settings = PretrainSettings(
        {target.name: target.weight for target in labels},
        mel=targets[0].weight,
        mfcc=targets[1].weight,
        epochs=epochs,
        validation="0.05" if validation else "0",
    )
    data = {
        "manifest": "/home/somebody/manifest.csv",
        "segments": "ab" * 32,
        "functions": {"own:flux": "810da303c12ba5b1"},
        "clips": 1456,
        "hours": 1.25,
        "validation_clips": 24 if validation else 0,
        "validation_hours": 0.05 if validation else 0.0,
        "left_out": {"too-short": 7},
    }
    versions = {"python": "3.11.7", "torch": "2.6.0"}
    return Config(settings, tuple(targets), data, {}, versions, about | result), history


def three() -> Sample:
    return sample(number("loudness", LOUDNESS), number("own:flux"), number("own:zcr"))


def hostile() -> Sample:
    config, history = sample(
        number(HOSTILE, HOSTILE), categories("column:" + HOSTILE, HOSTILE, "b"),
        skipped=[f"epoch 1, batch 2: {HOSTILE} at 0.50 s"],
    )  # fmt: skip
    data = config.data | {
        "manifest": HOSTILE,
        "left_out": {HOSTILE: 3},
        "functions": {HOSTILE: HOSTILE},
    }
    about = {"file": HOSTILE, "digest": HOSTILE, "label": HOSTILE, "estimator": HOSTILE, "top": 2}
    inputs = {"inputs": {HOSTILE: HOSTILE}}
    versions = {HOSTILE: HOSTILE}
    return replace(config, data=data, ranking=about | inputs, versions=versions), history


def odd() -> Sample:
    """A worker without a held-out frame, a loss that is not finite, no time, nothing to beat."""
    config, history = sample(number("own:gone"), number("own:far"), number("own:flat"), seconds=0.0)
    for epoch in history:
        del epoch["validation"]["own:gone"]
        epoch["validation"]["own:far"] = math.nan
        epoch["training"]["own:far"] = math.inf
    config.result["constant_guess"] |= {"own:gone": 0.0, "own:flat": 0.0}
    return config, history


CASES = {
    "three": three,
    "category": lambda: sample(categories("column:phone", "a", "b", "c"), number("F0")),
    "no validation": lambda: sample(number("F0"), validation=False),
    "one epoch": lambda: sample(number("F0"), epochs=1),
    "many": lambda: sample(*(number(f"m:name{k}_{'x' * 40}") for k in range(30)), epochs=30),
    "very long": lambda: sample(number("F0"), epochs=1200, kept=999),
    "speech alone": lambda: sample(own=speech(1.0, 0.0)),
    "one worker": lambda: sample(number("F0"), own=speech(0.0, 0.0)),
    "hostile": hostile,
    "odd": odd,
    "odd, one epoch": lambda: (odd()[0], odd()[1][-1:]),
}


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest) -> tuple[Sample, str, Page]:
    pretraining = CASES[request.param]()
    if request.param == "odd, one epoch":
        pretraining[0].result.update(epochs=1, best_epoch=1)
    source = render(*pretraining)
    return pretraining, source, Page(source)


def run(pretraining: Sample) -> losses.LossCurves:
    return losses.LossCurves.of(*pretraining)


# ------------------------------------------------------------------------------------ the page


def test_the_page_has_every_section(case: tuple[Sample, str, Page]) -> None:
    _, source, page = case
    sections = [attributes.get("id") for tag, attributes in page.tags if tag == "section"]
    assert tuple(sections) == SECTIONS
    assert source.endswith("</html>")


def test_nothing_is_fetched_or_run(case: tuple[Sample, str, Page]) -> None:
    _, source, page = case
    assert not {"script", "link", "iframe", "object", "img"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "action", "srcset"):
                assert (value or "").startswith("#")
            assert not name.startswith("on")
    assert "http" not in source.replace("http-equiv", "")
    assert "@import" not in source
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in source


def test_undefined_values_are_never_printed(case: tuple[Sample, str, Page]) -> None:
    pretraining, source, page = case
    for text in (page.text, card(pretraining[0])):
        assert not re.search(r"\b(nan|inf|None|True|False)\b(?! of the)", text)
    assert not re.search(r"\bnan\b", source, flags=re.IGNORECASE)


def test_ids_are_unique_and_all_references_resolve(case: tuple[Sample, str, Page]) -> None:
    _, source, page = case
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {(a.get("xlink:href") or "")[1:] for tag, a in page.tags if tag == "use"}
    drawn = set(re.findall(r"url\(#([^)]*)\)", source)) - {"b"}  # b: the hostile name's
    assert used | drawn <= set(ids)


def test_figures_say_what_they_are_in_large_enough_text(case: tuple[Sample, str, Page]) -> None:
    _, source, page = case
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert all(a["role"] == "img" and a["aria-label"] for a in drawings)
    assert [a["class"] for a in drawings] == ["wide", "narrow"] * 2
    sizes = [
        float(size)
        for tag, attributes in page.tags
        if tag == "text"
        for size in re.findall(r"([\d.]+)px", attributes.get("style") or "")
    ]
    assert all(size >= 11 for size in sizes)
    bodies = re.sub(r"<style>.*?</style>", "", source, flags=re.S)
    assert not set(canvas.COLOURS) & set(re.findall(r"#[0-9a-f]{6}", bodies))


@pytest.mark.parametrize("name", ["three", "odd", "hostile"])
def test_the_same_run_gives_the_same_bytes(name: str) -> None:
    first = render(*CASES[name]()), card(CASES[name]()[0])
    with mpl.rc_context({"svg.fonttype": "path", "font.size": 30}):
        assert (render(*CASES[name]()), card(CASES[name]()[0])) == first


def test_hostile_names_are_inert() -> None:
    source = render(*hostile())
    page = Page(source)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script" not in source
    assert page.text.count(HOSTILE) > 15  # as it is, neither read as markup nor as a template


@pytest.mark.parametrize("name", ["", " ", "a\nb", "語" * 40, "x" * 300, "\x00", "…", "`", "🎤"])
def test_any_name_can_be_shown(name: str) -> None:
    pretraining = sample(number("m:" + name), number("n:" + name), categories(name, name, "b"))
    assert render(*pretraining).endswith("</html>")
    assert card(pretraining[0])


def test_the_kept_epoch_and_the_figures_are_in_the_table() -> None:
    pretraining = sample(
        number("F0", weight=0.25), epochs=4, kept=3, ratios={"F0": 0.25, "mel": 0.75}
    )
    page = Page(render(*pretraining))
    assert (
        "The weights are those of epoch 3, which had the lowest loss on held-out speech."
        in page.text
    )
    row = re.search(r"F0\s+L1 of the z-scored pseudo-label(.*?)log-mel", page.text, flags=re.S)
    assert row is not None
    # ratio, validation, constant guess, training, weight
    assert row[1].split() == ["0.25", "0.500", "2.000", "0.450", "0.25"]
    # 0.25 · 0.5 + 1.5 + 1 of 0.25 · 2 + 2 + 2
    cells = page.text[page.text.index("all together") :].split()
    assert cells[7:10] == ["0.58", "2.625", "4.500"]
    assert "× 112 real time" in page.text  # 5600 s in 50 s


def test_equal_weights_are_stated_once() -> None:
    assert losses.targets_sentence(three()[0]) == (
        "At every frame it had to predict 3 pseudo-labels, loudness, own:flux and own:zcr; and the "
        "speech itself, as log-mel and MFCC, each with weight 1."
    )
    config, _ = sample(number("F0", weight=0.5), own=speech(1.0, 0.0))
    assert losses.targets_sentence(config) == (
        "At every frame it had to predict 1 pseudo-label, F0 (0.5); and the speech itself, as "
        "log-mel (1). The weights in its loss are in brackets."
    )
    config, _ = sample(number("F0", weight=2.0), own=speech(0.0, 0.0))
    assert losses.targets_sentence(config).endswith("1 pseudo-label, F0, with weight 2.")
    config, _ = sample(own=speech(1.0, 0.0))
    assert losses.aim(config) == "to reconstruct the speech itself (log-mel)"


# ------------------------------------------------------------------------------------ the verdict


@pytest.mark.parametrize(
    ("ratio", "remark"),
    [
        (0.5, ""),
        (0.95, ""),
        (math.nextafter(0.95, 1), "learned hardly anything"),
        (math.nextafter(1, 0), "learned hardly anything"),
        (1.0, "no better than a constant guess"),
        (1.5, "no better than a constant guess"),
    ],
)
def test_remarks_at_their_thresholds(ratio: float, remark: str) -> None:
    part = losses.WorkerLoss("F0", "F0", "L1", 1.0, 0.1, ratio, 1.0)
    assert part.remark == remark


@pytest.mark.parametrize(("validation", "without"), [(None, 1.0), (1.0, None), (1.0, 0.0)])
def test_no_remark_without_a_ratio(validation: float | None, without: float | None) -> None:
    part = losses.WorkerLoss("F0", "F0", "L1", 1.0, 0.1, validation, without)
    assert part.ratio is None
    assert part.remark == ""


@pytest.mark.parametrize(
    ("ratios", "text"),
    [
        (
            {"F0": 0.2, "own:flux": 0.9},
            "All 4 workers do better than a constant guess on held-out speech: from 0.20 of the "
            "loss (F0) to 0.90 (own:flux).",
        ),
        (
            {"F0": 0.97, "own:flux": 1.2, "mel": 0.6},
            "2 of 4 workers do better than a constant guess on held-out speech: from 0.50 of the "
            "loss (MFCC) to 0.60 (log-mel). F0 learned hardly anything. own:flux is no better than "
            "a constant guess.",
        ),
        (
            {"F0": 0.97, "own:flux": 0.98, "mel": 0.99},
            "1 of 4 workers does better than a constant guess on held-out speech: MFCC, 0.50 of "
            "the loss. F0, own:flux and log-mel learned hardly anything.",
        ),
        (
            {"F0": 1.1, "own:flux": 1.1, "mel": 0.99, "mfcc": 0.99},
            "None of the 4 workers does clearly better than a constant guess on held-out speech. "
            "log-mel and MFCC learned hardly anything. F0 and own:flux are no better than a "
            "constant guess.",
        ),
    ],
)
def test_the_verdict_counts_the_workers_that_learned(ratios: dict[str, float], text: str) -> None:
    pretraining = sample(number("F0"), number("own:flux"), ratios=ratios)
    assert losses.verdict(run(pretraining)) == text
    assert text in Page(render(*pretraining)).text
    marked = [ratio for ratio in ratios.values() if ratio > losses.HARDLY]
    rows = render(*pretraining).count('<tr class="idle">') - bool(run(pretraining).total.remark)
    assert rows == len(marked)
    assert len(losses.warnings(pretraining[0], run(pretraining))) == bool(marked)


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.2, "The only worker, F0, does better than a constant guess on held-out speech: 0.20 of "
              "the loss."),
        (1.0, "The only worker, F0, does not do clearly better than a constant guess on held-out "
              "speech. F0 is no better than a constant guess."),
    ],
)  # fmt: skip
def test_the_verdict_on_one_worker(ratio: float, text: str) -> None:
    pretraining = sample(number("F0"), own=speech(0.0, 0.0), ratios={"F0": ratio})
    assert losses.verdict(run(pretraining)) == text


def test_without_validation_only_training_is_shown() -> None:
    pretraining = CASES["no validation"]()
    page = Page(render(*pretraining))
    assert losses.verdict(run(pretraining)).startswith("Nothing was held out")
    assert "No validation" in page.text
    assert "The weights are those of epoch 4, the last." in page.text
    for text in ("Ratio", "onstant guess"):
        assert text not in page.text
    assert "held out for validation" not in card(pretraining[0])
    assert "Nothing was held out" in card(pretraining[0])


def test_a_worker_without_a_held_out_loss_has_no_ratio() -> None:
    pretraining = odd()
    parts = {worker.key: worker for worker in run(pretraining).workers}
    for name in ("own:gone", "own:far", "own:flat"):
        assert parts[name].ratio is None
    assert "No loss on held-out speech for own:gone, own:far and own:flat." in (
        losses.warnings(pretraining[0], run(pretraining))
    )
    assert losses.speed(pretraining[0]) == ""


def test_sentences_on_one_epoch() -> None:
    pretraining = CASES["one epoch"]()
    assert losses.training_sentence(pretraining[0]) == (
        "It was trained on 1.2 h of speech (1,456 clips) for 1 epoch."
    )
    assert losses.total_loss_sentence(run(pretraining)).startswith(
        "One epoch: the total loss on held-out speech"
    )


def test_sentences_on_several_epochs() -> None:
    best_inside = losses.total_loss_sentence(run(sample(number("F0"), epochs=5, kept=3)))
    assert "It was lowest in epoch 3, at 3.000." in best_inside
    best_last = losses.total_loss_sentence(run(sample(number("F0"), epochs=5)))
    assert "more epochs may lower it further" in best_last
    config, _ = sample(number("F0"), epochs=5, kept=3)
    settings = replace(config.settings, epochs=9, patience=2)
    text = losses.training_sentence(replace(config, settings=settings))
    assert (
        "for 5 epochs, of 9 at most: training stopped after 2 epochs without a lower loss" in text
    )


def test_categories_are_named_with_their_shares() -> None:
    page = Page(render(*CASES["category"]()))
    assert "one of 3 categories" in page.text
    assert "c (50 %), b (33 %), a (17 %)" in page.text
    assert "cross-entropy" in page.text


def test_skipped_batches_and_clips_left_out_are_named() -> None:
    pretraining = sample(number("F0"), skipped=["epoch 1, batch 2: a.flac at 0.50 s"])
    page = Page(render(*pretraining))
    assert "1 of 33 batches had a loss or gradient that is not finite" in page.text
    assert "epoch 1, batch 2: a.flac at 0.50 s" in page.text
    assert "7 clips left out" in page.text
    assert "1 batch of 33 skipped" in card(pretraining[0])


def test_the_ranking_of_the_pseudo_labels_is_named() -> None:
    config, history = three()
    about = {
        "file": "ranking.json", "digest": "cd" * 32, "label": "speaker", "estimator": "robust",
        "inputs": {"segments": "ef" * 32}, "top": 3,
    }  # fmt: skip
    text = Page(render(replace(config, ranking=about), history)).text
    assert "The best 3 of those relevant to speaker, by the robust estimator" in text
    assert "cd" * 32 in text
    assert "ef" * 32 in text
    assert "a ranking" not in card(config)
    assert "the best 3 of a ranking for `speaker`" in card(replace(config, ranking=about))


# ------------------------------------------------------------------------------------ the figures


def test_names_that_are_shortened_to_the_same_text_are_numbered() -> None:
    pretraining = sample(*(number(f"m:{'x' * 40}{k}{'y' * 40}") for k in range(2)))
    names = curves._names(run(pretraining), 12)
    assert len(set(names)) == 4
    assert names[0].endswith("#1")


# ------------------------------------------------------------------------------------ the card


def test_card_says_how_to_load_and_what_goes_in_and_out() -> None:
    text = card(three()[0])
    for part in (
        'encoder = augury.load_encoder("FOLDER")',
        "features = encoder(signal)",
        "augury encode audio.wav --encoder FOLDER --out features",
        "one channel at 16 kHz",
        "log-mel of 80 bands in dB as `augury.audio.log_mel` returns it",
        "(batch, frames, 256), 100 frames a second, the first centred at 12.5 ms",
        "arXiv 2104.07388",
        "torch 2.6.0",
        "| `own:flux` | `function:own:flux` | L1 of the z-scored pseudo-label | 1 | 0.900 | 1.000 "
        "| 2.000 | 0.50 |",
    ):
        assert part in text
    assert "/home" not in text  # made to be passed on
    assert "{{" not in text


def test_the_licence_is_stated_only_if_opensmile_computed_something() -> None:
    own = sample(number("own:flux"), number("loudness", "function:my.opensmile:f"))
    assert LICENCE in card(three()[0])
    assert "openSMILE" in Page(render(*three())).text
    assert "openSMILE" not in card(own[0])
    assert "openSMILE" not in Page(render(*own)).text


def test_rows_of_the_cards_table_have_equally_many_cells() -> None:
    for name in ("three", "no validation", "hostile"):
        text = card(CASES[name]()[0])
        rows = [line for line in text.splitlines() if line.startswith("|")]
        cells = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
        assert len(cells) == 1
        assert "\n\n\n" not in text


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("F0", "`F0`"),
        ("a`b", "``a`b``"),
        ("`", "`` ` ``"),
        ("a\n\n# b\x1b", "`a # b`"),
        ("", "`(no name)`"),
        ("<b>*x*", "`<b>*x*`"),
        ("a|b", "`a|b`"),
    ],
)
def test_any_text_is_a_code_span(text: str, span: str) -> None:
    assert losses.code_span(text) == span


def test_a_bar_is_escaped_in_a_cell() -> None:
    assert losses.code_span("a|b", cell=True) == "`a\\|b`"
