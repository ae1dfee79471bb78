from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from scipy.stats import norm

from augury.downstream import figures, wording
from augury.downstream.comparison import Comparison
from augury.downstream.report import render, write_report
from augury.downstream.result import (
    Confusion,
    Evaluation,
    Metric,
    Mistake,
    Model,
    Outcome,
)
from augury.downstream.scores import metrics
from augury.report import canvas

from pages import Page

HOSTILE = "<script>alert('x')</script>$\\frac{1}$ \"&amp; --> ]]> {{ 7*7 }} url(#b) onload=x"
RTL = "\u202egnp.exe שלום"
SOUND = "data:audio/ogg;base64,T2dnUw=="
EER = Metric("EER", "equal error rate of speaker verification", 0.5)
PHONES = ("aa", "ae", "b", "d", "iy", "s", "sh", "z")


def history(epochs: int, level: float) -> tuple[dict[str, Any], ...]:
    entries = []
    for epoch in range(1, epochs + 1):
        loss = level * (1 + 6 / epoch) + 0.02 * epoch
        values = {"loss": loss, "error": loss / 8}
        entries.append({"epoch": epoch, "training": values, "validation": values})
    return tuple(entries)


def curve(
    rate: float, count: int = 400, seed: int = 0
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """A DET curve of normal scores with about that equal error rate."""
    rng = np.random.default_rng(seed)
    apart = -2 * norm.ppf(rate)
    alarms, misses = metrics.det(rng.normal(apart, 1, count), rng.normal(0, 1, count))
    return tuple(alarms.tolist()), tuple(misses.tolist())


def confusion(labels: Sequence[str], rate: float = 0.1, seed: int = 0) -> Confusion:
    rng, n = np.random.default_rng(seed), len(labels)
    counts = rng.poisson(80 * rate / n, (n, n)) + np.diag(rng.poisson(80, n))
    if "" in labels:
        counts[labels.index(""), labels.index("")] = 0
    return Confusion(tuple(labels), tuple(map(tuple, counts.tolist())))


def outcome(score: float, seed: int = 0, epochs: int = 8, **more: Any) -> Outcome:
    about = {"best_epoch": epochs - 2, "epochs": epochs, "seconds": 83.0, "parameters": 131_200}
    about |= more.pop("about", {})
    interval = (0.8 * score, 1.25 * score)
    return Outcome(seed, score, interval, history=history(epochs, score), about=about, **more)


def model(
    name: str,
    *scores: float,
    labels: tuple[str, ...] | None = ("f0",),
    mode: str = "frozen",
    **more: Any,
) -> Model:
    outcomes = tuple(outcome(score, seed, **more) for seed, score in enumerate(scores))
    return Model(name, mode, labels, outcomes)


def mel(*scores: float, **more: Any) -> Model:
    return model("mel", *scores, labels=None, **more)


def random(*scores: float, **more: Any) -> Model:
    return model("random", *scores, labels=None, **more)


def evaluation(*models: Model, metric: Metric = EER, **more: Any) -> Evaluation:
    defaults: dict[str, Any] = {
        "task": "speaker",
        "settings": {"label": "speaker", "mode": "frozen", "channels": [128, 384], "crop": 2.0},
        "data": {
            "manifest": "/home/somebody/voxceleb.csv",
            "segments": "ab" * 32,
            "left_out": {"no-label": 3},
            "train": {"segments": 12_403, "hours": 26.3, "speakers": 1211},
            "validation": {"segments": 640, "hours": 1.4, "speakers": 1211},
            "test": {"segments": 4_874, "hours": 9.8, "speakers": 40},
        },
        "versions": {"python": "3.11.7", "torch": "2.6.0"},
    }
    return Evaluation(metric=metric, models=models, **defaults | more)


def verification() -> Evaluation:
    """Three models and seeds, with DET curves, groups, further scores and the worst trials."""

    def verified_model(name: str, rates: Sequence[float], labels: tuple[str, ...] | None) -> Model:
        outcomes = [
            outcome(
                rate,
                seed,
                scores={"EER cosine": 1.4 * rate, "EER PLDA": rate, "minDCF 0.01 PLDA": 6 * rate},
                groups={"same gender": 1.2 * rate, "cross gender": 0.7 * rate},
                det=curve(rate, seed=seed),
                mistakes=(
                    Mistake(
                        "id10270/5r0dWxy17C8/00001.wav and id10270/8jEAjG6SegY/00008.wav",
                        "same speaker, but scored −14.20",
                        audio=SOUND,
                    ),
                    Mistake(
                        "id10271/a.wav and id10283/b.wav", "different speakers, but scored 22.31"
                    ),
                ),
            )
            for seed, rate in enumerate(rates)
        ]
        return Model(name, "frozen", labels, tuple(outcomes))

    return evaluation(
        verified_model("f0", (0.087, 0.091, 0.095), ("F0final_sma", "loudness")),
        verified_model("mel", (0.052, 0.054, 0.056), None),
        verified_model("random", (0.151, 0.139, 0.166), None),
    )


def recognition(labels: Sequence[str] = (*PHONES, "")) -> Evaluation:
    """Phones with insertions and deletions; encoders frozen and finetuned."""
    worst = (
        Mistake("dr1/fcjf0/sa1.wav", "17 errors in 12", "sh iy hh ae d", "s iy d aa b b", SOUND),
        Mistake("dr1/fcjf0/sx2.wav at 2.35 s", "9 errors in 12", "", "s " * 90, "https://x/y.ogg"),
    )
    more: dict[str, Any] = {
        "confusion": confusion(labels), "mistakes": worst,
        "scores": {"substitutions": 0.2, "deletions": 0.1, "insertions": 1.3},
    }  # fmt: skip
    return evaluation(
        model("augury-20", 1.04, 1.09, 1.01, mode="finetune", **more),
        model("augury-20", 1.21, 1.26, 1.19, **more),
        model("reconstruction", 1.31, 1.28, 1.36, labels=(), **more),
        mel(1.22, 1.27, 1.24, **more),
        random(1.61, 1.7, 1.66, mode="finetune", **more),
        metric=Metric("PER", "error rate of phones"),
        task="asr",
        warnings=("'zh' is 3 times in the test transcripts, but never in training",),
    )


def many() -> Evaluation:
    rng = np.random.default_rng(0)
    encoders = [
        model(f"run{k}_{'x' * 60}", *(0.1 + 0.004 * k + 0.005 * rng.random(3)).tolist(),
                  mode=("frozen", "finetune")[k % 2], det=curve(0.1 + 0.004 * k))
        for k in range(27)
    ]  # fmt: skip
    return evaluation(*encoders, mel(0.15, 0.16), random(0.3, 0.31), model("rec", 0.2, labels=()))


def hostile() -> Evaluation:
    worst = outcome(
        0.1, scores={HOSTILE: 0.5}, groups={HOSTILE: 0.2}, det=curve(0.1),
        confusion=confusion([HOSTILE, RTL, "x" * 300, ""]),
        mistakes=(Mistake(HOSTILE, HOSTILE, HOSTILE, HOSTILE, 'javascript:alert("x")'),
               Mistake(RTL, RTL, RTL, RTL, f'data:audio/ogg,"><script>{HOSTILE}'),
               Mistake("\udcff\x00", "x", audio="data:text/html,<script>x</script>")),
    )  # fmt: skip
    return evaluation(
        Model(HOSTILE, HOSTILE, (HOSTILE,), (worst,)),
        Model(RTL, "frozen", (RTL,), (worst,)),
        Model("x" * 300, "frozen", None, (worst,)),
        metric=Metric(HOSTILE, HOSTILE, 0.11),
        task=HOSTILE,
        settings={HOSTILE: HOSTILE, "label": HOSTILE},
        data={"manifest": HOSTILE, "segments": HOSTILE, "left_out": {HOSTILE: 1}},
        versions={HOSTILE: HOSTILE},
        warnings=(HOSTILE,),
    )


def bare() -> Evaluation:
    """Nothing but what must be there."""
    encoder = Model("f0", "frozen", ("f0",), (Outcome(0, 0.25),))
    return Evaluation("own:Task", Metric("error", ""), {}, {}, (encoder,))


def odd() -> Evaluation:
    """Scores that are not finite, curves without any point in the frame, courses with gaps."""
    perfect = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    gone = ({"epoch": 1, "validation": {"loss": math.nan}}, {"epoch": 2})
    return evaluation(
        Model("f0", "frozen", ("f0",), (Outcome(0, 0.0, det=perfect, history=gone),)),
        Model("f1", "frozen", ("f1",), (Outcome(0, math.nan),)),
        Model("f2", "frozen", ("f2",)),
        Model("mel", "frozen", None, (Outcome(0, 0.0, (0.0, math.nan), det=((), ())),)),
        random(0.5, 0.5, confusion=Confusion((), ()), about={"skipped": ["a", "b"]}),
    )


CASES = {
    "verification": verification,
    "recognition": recognition,
    "many": many,
    "hostile": hostile,
    "odd": odd,
    "bare": bare,
    "nothing yet": evaluation,
    "baselines": lambda: evaluation(mel(0.1, 0.2), random(0.4, 0.3)),
    "no baseline": lambda: evaluation(model("f0", 0.1, 0.11)),
    "one of each": lambda: evaluation(model("f0", 0.1), mel(0.2)),
    "many classes": lambda: recognition([f"word{k}" for k in range(61)]),
    "39 phones": lambda: recognition([*(f"p{k}" for k in range(39)), ""]),
}


@cache
def page_of(name: str) -> str:
    """A case's page, drawn once for all tests."""
    return render(CASES[name]())


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest) -> tuple[Evaluation, str, Page]:
    example, source = CASES[request.param](), page_of(request.param)
    return example, source, Page(source)


# ------------------------------------------------------------------------------------ the page


def test_nothing_is_fetched_or_run(case: tuple[Evaluation, str, Page]) -> None:
    _, source, page = case
    assert source.endswith("</html>")
    assert not {"script", "link", "iframe", "object", "img"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "action", "srcset"):
                start = {"audio": "data:audio/", "image": "data:image/png;base64,"}.get(tag, "#")
                assert (value or "").startswith(start)
            assert not name.startswith("on")
    assert "@import" not in source
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:" in source


def test_undefined_values_are_not_shown(case: tuple[Evaluation, str, Page]) -> None:
    _, source, page = case
    assert not re.search(r"\b(nan|inf|None|True|False)\b", page.text)
    assert not re.search(r"\bnan\b", source, flags=re.IGNORECASE)


def test_ids_are_unique_and_all_references_resolve(case: tuple[Evaluation, str, Page]) -> None:
    _, source, page = case
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {(a.get("xlink:href") or "")[1:] for tag, a in page.tags if tag == "use"}
    referenced = set(re.findall(r"url\(#([^)]*)\)", source)) - {"b"}  # b: the hostile name's
    assert used | referenced <= set(ids)


def test_figures_have_titles_and_large_enough_text(case: tuple[Evaluation, str, Page]) -> None:
    _, source, page = case
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert all(a["role"] == "img" and a["aria-label"] for a in drawings)
    sizes = [
        float(size)
        for tag, attributes in page.tags
        if tag == "text"
        for size in re.findall(r"([\d.]+)px", attributes.get("style") or "")
    ]
    assert all(size >= 11 for size in sizes)
    bodies = re.sub(r"<style>.*?</style>", "", source, flags=re.S)
    assert not set(canvas.COLOURS) & set(re.findall(r"#[0-9a-f]{6}", bodies))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("verification", ["scores", "groups", "training", "trade", "worst", "reproduce"]),
        ("recognition", ["scores", "training", "confusion", "worst", "reproduce"]),
        ("bare", ["scores", "training", "reproduce"]),
        ("nothing yet", ["scores", "training", "reproduce"]),
    ],
)
def test_sections_without_content_are_left_out(name: str, wanted: list[str]) -> None:
    page = Page(page_of(name))
    assert [a.get("id") for tag, a in page.tags if tag == "section"] == wanted


@pytest.mark.parametrize("name", ["verification", "odd", "hostile"])
def test_the_same_evaluation_gives_the_same_bytes(name: str) -> None:
    first = render(CASES[name]())
    with mpl.rc_context({"svg.fonttype": "path", "font.size": 30}):
        assert render(CASES[name]()) == first


def test_reading_and_rendering_gives_the_written_page(tmp_path: Path) -> None:
    written = verification()
    written.write(tmp_path)
    assert write_report(written, tmp_path).read_text("utf-8") == render(written)
    assert render(Evaluation.read(tmp_path)) == render(written)
    assert json.loads(json.dumps(asdict(written)))["task"] == "speaker"


def test_hostile_names_are_inert() -> None:
    source = page_of("hostile")
    page = Page(source)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script" not in source
    assert page.text.count(HOSTILE) > 15  # as it is, neither read as markup nor as a template
    players = [a for tag, a in page.tags if tag == "audio"]
    assert len(players) == 1  # that with sound in it, whatever that sound may be
    assert (players[0]["src"] or "").startswith("data:audio/ogg,")


def test_right_to_left_names_are_isolated() -> None:
    assert wording.isolate("f0, ä 語") == "f0, ä 語"
    assert wording.isolate(RTL) == f"\u2068{RTL}\u2069"
    assert f"\u2068{RTL}\u2069" in Page(page_of("hostile")).text


@pytest.mark.parametrize(
    "name", ["", " ", "a\nb", "語" * 40, "x" * 300, "\x00", "…", "🎤", "\udcff"]
)
def test_any_name_can_be_shown(name: str) -> None:
    encoder = model(name, 0.1, labels=(name,), confusion=confusion([name, "b"]))
    page = render(evaluation(encoder, model(name, 0.2, mode=name), metric=Metric(name, name)))
    assert page.endswith("</html>")
    page.encode()


def test_only_sound_is_played() -> None:
    page = Page(page_of("recognition"))
    assert [(a["src"], a["preload"]) for tag, a in page.tags if tag == "audio"] == [(SOUND, "none")]
    assert "controls" in dict(next(a for tag, a in page.tags if tag == "audio"))


def test_missing_values_are_left_out() -> None:
    text = Page(page_of("bare")).text
    for words in ("left out", "Manifest", "Speakers", "Best epoch", "95 % interval"):
        assert words not in text
    assert "No epoch was recorded." in text
    assert "an error of 25.0 % (one seed: no interval)" in text


def test_the_table_has_the_numbers() -> None:
    text = Page(page_of("verification")).text
    row = re.search(r"pretrained on F0final_sma and loudness\s+(.*?)\nrandom", text, re.S)
    assert row
    # Mean; standard deviation; mean ± 4.3027 · 0.4 / √3 (2 degrees of freedom); the median seed's.
    assert row[1].split("\n")[:5] == ["9.1", "0.4", "8.1 to 10.1", "7.3 to 11.4", "3"]
    assert row[1].endswith("does not help131,200 1 min")
    further = text[text.index("Further scores") :]
    assert re.search(r"loudness\s+12\.7 %9\.1 %0\.546", further)  # a cost is no share
    groups = text[text.index("EER by group") :]
    assert re.search(r"loudness\s+10\.9 %6\.4 %", groups)
    for number in ("12,403", "26.3 h", "1,211", "4,874", "no-label", "2.6.0", "ab" * 32):
        assert number in text


def test_facts_do_not_show_folders() -> None:
    text = Page(page_of("verification")).text
    assert "Speaker recognition on voxceleb.csv" in text
    assert text.count("/home/somebody") == 1  # how it was made


def test_small_rates_have_two_digits() -> None:
    comparison = Comparison.of(evaluation(mel(0.0123)))
    assert comparison.percent(0.0123) == "1.23 %"
    assert comparison.percent(None) == comparison.percent(math.nan) == "–"
    assert comparison.span((-0.01, 0.02)) == "0.00 to 2.00"  # no rate is below 0


# ------------------------------------------------------------------------------------ the verdict


def verdict(*models: Model, **more: Any) -> str:
    return wording.verdict(Comparison.of(evaluation(*models, **more)))


LOW, MIDDLE, HIGH = (0.05, 0.051, 0.052), (0.09, 0.091, 0.092), (0.15, 0.151, 0.152)
WIDE = (0.05, 0.09, 0.13)


def test_verdict_of_an_encoder_worse_than_log_mel() -> None:
    assert verdict(model("f0", *MIDDLE), mel(*LOW), random(*HIGH)) == (
        "The encoder f0 has an EER of 9.1 % (3 seeds, 8.9 to 9.3), log-mel 5.1 % (3 seeds, 4.9 to "
        "5.3): it does not help. It does better than the random encoder."
    )


def test_verdict_of_an_encoder_better_than_all_baselines() -> None:
    text = verdict(model("f0", *LOW, mode="finetune"), mel(*MIDDLE), random(*HIGH))
    assert text == (
        "The encoder f0 (finetuned) has an EER of 5.1 % (3 seeds, 4.9 to 5.3), log-mel 9.1 % "
        "(3 seeds, 8.9 to 9.3): it helps. It does better than the random encoder."
    )


def test_verdict_inside_the_intervals_is_not_settled() -> None:
    text = verdict(model("f0", *WIDE), mel(*MIDDLE), model("base", *HIGH, labels=()))
    assert "whether it helps is not settled, as the intervals overlap." in text
    assert text.endswith(" Against the encoder base it is not settled.")
    text = verdict(model("f0", *LOW), mel(*MIDDLE), random(0.05, 0.3, 0.4))
    assert "not settled, as not all baselines are clearly worse." in text
    assert text.endswith(" Against the random encoder it is not settled.")


def test_verdict_of_single_seeds_is_not_settled() -> None:
    text = verdict(model("f0", 0.01), mel(*HIGH))
    assert "(one seed: no interval)" in text
    assert text.endswith("not settled, as one seed does not tell how much the score depends on it.")


def test_verdict_without_baselines_or_encoders() -> None:
    assert "no baseline (log-mel, a random encoder, or one pretrained on reconstruction" in verdict(
        model("f0", *LOW)
    )
    text = verdict(mel(*LOW), random(*HIGH))
    assert text.startswith("Log-mel has an EER of 5.1 % (3 seeds, 4.9 to 5.3), the random encoder ")
    assert text.endswith("no encoder pretrained on pseudo-labels was evaluated.")
    assert verdict() == "No run has finished yet: there is no score."


def test_verdict_of_several_encoders_names_the_best() -> None:
    text = verdict(model("f0", *MIDDLE), model("f1", *LOW), mel(*HIGH))
    assert text.startswith("Of 2 encoders f1 is best, with an EER of 5.1 %")
    assert text.endswith("it helps.")
    text = verdict(model("f1", *MIDDLE), model("f1", *LOW, mode="finetune"), mel(*HIGH))
    assert text.startswith("Of 2 encoders and modes f1 (finetuned) is best, with an EER of 5.1 %")


def test_verdict_warns_if_intervals_over_speakers_overlap() -> None:
    encoder, baseline = model("f0", 0.09, 0.0901, 0.0902), mel(0.1, 0.1001, 0.1002)
    assert verdict(encoder, baseline).endswith(
        "it helps. With other test speakers this might differ: the intervals over speakers overlap."
    )
    encoder, baseline = model("f0", 0.1, 0.1001, 0.1002), mel(0.09, 0.0901, 0.0902)
    assert verdict(encoder, baseline).endswith(
        "it does not help. With other test speakers this might differ: the intervals over speakers "
        "overlap."
    )


@pytest.mark.parametrize(
    ("name", "article"), [("EER", "an"), ("PER", "a"), ("WER", "a"), ("error", "an"), ("", "a")]
)
def test_articles(name: str, article: str) -> None:
    assert wording._article(name) == article


def test_warnings_about_scores_are_added_to_the_evaluations() -> None:
    warnings = wording.warnings(Comparison.of(odd()))
    assert warnings == [
        "No better than guessing (50.0 %): the random encoder.",
        "random encoder: 4 batches had a loss or gradient that was not finite, and did not "
        "change the weights.",
        "No score of the encoder f1 and the encoder f2.",
    ]
    assert "'zh' is 3 times in the test transcripts" in Page(page_of("recognition")).text
    assert "No warnings." in Page(page_of("verification")).text


# ------------------------------------------------------------------------------------ confusions


def test_the_subject_is_the_best_encoder() -> None:
    assert Comparison.of(verification()).subject == verification().models[0]
    only = Comparison.of(evaluation(random(0.4), mel(0.2)))
    assert only.subject == mel(0.2)


def test_confusions_are_listed_by_their_number() -> None:
    table = Confusion(("a", "b", ""), ((8, 2, 0), (5, 0, 5), (1, 0, 0)))
    assert wording.confusion_rows(table) == [
        ("b", "a", 5, "50.0 %"),
        ("b", "nothing (deleted)", 5, "50.0 %"),
        ("a", "b", 2, "20.0 %"),
        ("nothing (inserted)", "a", 1, "–"),
    ]


def test_many_classes_are_listed_instead_of_drawn() -> None:
    for name, drawings, rows in (("many classes", 4, 20), ("39 phones", 6, 10)):
        page = Page(page_of(name))
        assert len([1 for tag, _ in page.tags if tag == "svg"]) == drawings
        text = page.text[page.text.index("The most frequent confusions") :]
        assert len(re.findall(r"\d+\d*\.\d %\n|–\n", text[: text.index("worst mistakes")])) == rows
    assert "61 classes are too many to draw" in Page(page_of("many classes")).text


def test_a_perfect_score_has_no_confusions() -> None:
    perfect = evaluation(model("f0", 0.0, confusion=Confusion(("a", "b"), ((3, 0), (0, 4)))))
    assert "Nothing was confused." in Page(render(perfect)).text


# ------------------------------------------------------------------------------------ the figures


def test_det_curves_are_straight_in_rates_between_corners() -> None:
    (piece,) = figures._pieces((1.0, 0.0), (0.0, 1.0))  # chance: all on one line
    assert len(piece) > 40
    assert np.allclose([a + m for a, m in piece], 1, atol=1e-9)  # rounding of interpolation
    assert piece[0][0] == pytest.approx(figures.HIGH)
    assert piece[-1][1] == pytest.approx(figures.HIGH)


def test_det_curves_go_through_their_corners() -> None:
    corners = [(1.0, 0.0), (0.3, 0.02), (0.02, 0.25), (0.0, 1.0)]
    (piece,) = figures._pieces(*zip(*corners, strict=True))
    for alarm, miss in corners[1:3]:
        assert min(math.hypot(alarm - a, miss - m) for a, m in piece) < 1e-9  # rounding
    assert min(map(min, piece)) >= figures.LOW
    assert max(map(max, piece)) <= figures.HIGH


def test_equal_error_is_where_the_curve_crosses_the_diagonal() -> None:
    rng = np.random.default_rng(3)
    targets, others = rng.normal(1.5, 1, 90), rng.normal(0, 1, 130)
    rate = metrics.eer(targets, others).rate
    assert figures._equal_error(*metrics.det(targets, others)) == pytest.approx(rate, abs=1e-12)


def test_curves_outside_the_frame_are_listed() -> None:
    comparison = Comparison.of(odd())
    assert [model.name for model in figures.outside(comparison)] == ["f0"]
    assert "Not in the frame: the encoder f0." in Page(page_of("odd")).text


@pytest.mark.parametrize(("score", "near"), [(0.45, 0.5), (0.05, None)])
def test_chance_is_drawn_where_it_is_near(score: float, near: float | None) -> None:
    shown = evaluation(mel(score))
    assert Comparison.of(shown).near_chance == near
    assert ("far outside the axis" in render(shown)) == (near is None)
    assert Comparison.of(replace(shown, metric=Metric("PER", "x"))).near_chance is None


def test_only_the_best_lines_stand_out() -> None:
    comparison = Comparison.of(many())
    looks = [look for _, look in figures._looks(comparison)]
    assert len(looks) == 30
    assert len([look for look in looks if look is not figures.REST]) == 6
    assert [look[0] for look in looks[:3]] == [canvas.FIRST, canvas.SECOND, canvas.THIRD]
    keys = figures._keys(figures._looks(comparison), canvas.WIDE)
    assert keys[-1][0] == "24 more"
