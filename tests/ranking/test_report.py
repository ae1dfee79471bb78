from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import matplotlib as mpl
import numpy as np
import pytest

from augury.ranking import summary, wording
from augury.ranking.origin import Origin
from augury.ranking.report import render
from augury.ranking.result import Ranking, Result, Sensitivity
from augury.ranking.settings import RankSettings
from augury.report import canvas

from pages import Page

SECTIONS = (
    "order", "certainty", "reading", "ingredients", "classes", "values", "redundancy",
    "sensitivity", "skipped", "next", "reproduce",
)  # fmt: skip
HOSTILE = '<script>alert(\'x\')</script>$\\frac{1}$ "&amp; --> ]]> {{ 7*7 }} id="a" url(#b)'
SETTINGS = ("as set", "N = 10", "N = 40", "σ_gd = 0.035", "kernel width × 2")


def candidate(name: str, score: float | None, classes: int, **fields: object) -> Result:
    ranked = score is not None
    values = tuple(score * (1 + c / 10) for c in range(classes)) if score is not None else ()
    result = Result(
        name=name,
        source=f"opensmile:ComParE_2016:{name}_sma",
        kind="scalar",
        status="ranked" if ranked else "constant",
        score=score,
        interval=(score - 0.02, score + 0.02) if score is not None else None,
        rank_interval=(1, 2) if ranked else None,
        tier=1 if ranked else None,
        p_value=1e-30 if ranked else None,
        shuffled=0.0 if ranked else None,
        shuffled_sd=0.0009 if ranked else None,
        spread=0.4 if ranked else None,
        dependence=0.5 if ranked else None,
        relevance=0.3 if ranked else None,
        chance_sd=0.002 if ranked else None,
        noise_relevance=0.0 if ranked else None,
        relevance_p=0.0 if ranked else None,
        relevant=True if ranked else None,
        relevance_strength="clear" if ranked else None,
        information=0.25 if ranked else None,
        error=3e-9 if ranked else None,
        classes=values,
        dims=1,
        missing=0,
        histogram=((1, 5, 2), 0.0, 440.0) if ranked else ((), 0.0, 0.0),
        note="" if ranked else "the same value everywhere",
    )
    return replace(result, **fields)


def ranking(results: tuple[Result, ...], classes: int = 3, **fields: object) -> Ranking:
    n = len(results)
    scored = [r for r in results if r.score is not None]
    table = np.full((n, n), 0.3) + 0.7 * np.eye(n)
    order = np.arange(len(scored))
    better = 0.5 + 0.5 * np.sign(order - order[:, None])
    plain = Ranking(
        estimator="robust",
        label="phone",
        results=results,
        class_names=tuple(f"class{c}" for c in range(classes)),
        class_counts=tuple(range(10, 10 + classes)),
        class_shares=(1 / max(classes, 1),) * classes,
        segments=1234,
        recordings=56,
        hours=1.5,
        warnings=("the order follows the spread of the labels",),
        redundancy=tuple(map(tuple, table.tolist())),
        better=tuple(map(tuple, better.tolist())),
        resampled="recording",
        units=56,
        sensitivity=Sensitivity(
            200, SETTINGS, {r.name: (r.score,) * len(SETTINGS) for r in scored}
        ),
        quarantine={"too-short": 7},
        origin=Origin("manifest.csv"),
        settings=RankSettings(label="phone", exclude=("q",)),
        versions={"numpy": "2.0"},
        inputs={"segments": "ab" * 32},
    )
    return replace(plain, **fields)


def seven() -> Ranking:
    """Five candidates in three tiers."""
    scores = {"logHNR": 0.073, "ZCR": 0.164, "voicing": 0.179, "F0": 0.225, "loudness": 0.397}
    places = zip(scores.items(), (1, 1, 2, 2, 3), strict=True)
    return ranking(tuple(candidate(name, s, 39, tier=t) for (name, s), t in places), 39)


def unsure() -> Ranking:
    """Without bootstrap: no interval, no tier, no p-value."""
    undefined = dict.fromkeys(("interval", "rank_interval", "tier", "p_value"))
    settled = seven()
    results = tuple(replace(r, **undefined) for r in settled.results)
    return replace(
        settled, results=results, better=(), settings=RankSettings(label="phone", bootstrap=0)
    )


def sixty() -> Ranking:
    """More candidates than are compared in all pairs."""
    many = (candidate(f"candidate{k}", 0.1 + k / 1000, 2, tier=1 + k // 7) for k in range(60))
    return ranking(tuple(many), 2)


def noisy() -> Ranking:
    """As many classes as VoxCeleb has speakers; noise, and two that can't be ranked."""
    many = [candidate(f"candidate{k}", 0.1 + k / 100, 1251, tier=2 + k // 2) for k in range(18)]
    noise = candidate("noise", 0.0003, 1251, relevant=False, relevance=0.001)
    missing = candidate("nothing", None, 0, status="missing", missing=1234)
    return ranking((*many, noise, candidate("flat", None, 0), missing), 1251)


def several() -> Ranking:
    """Numbers, vectors of which none is relevant, and a category; noise has no rank."""
    noise = candidate("noise", 0.001, 3, relevant=False, tier=None, rank_interval=None)
    results = (
        candidate("F0", 0.2, 3), candidate("ZCR", 0.3, 3, tier=2, relevance_strength="faint"),
        candidate("speaker", 0.1, 3, kind="category"), noise,
        replace(noise, name="bands", kind="vector", dims=3), candidate("flat", None, 0),
    )  # fmt: skip
    better = np.full((5, 5), None)
    better[:2, :2] = ((0.5, 0.99), (0.01, 0.5))
    better[2, 2] = 0.5
    return ranking(results, 3, better=tuple(map(tuple, better.tolist())))


def published() -> Ranking:
    results = [
        candidate(
            name,
            score,
            39,
            shuffled=chance,
            shuffled_sd=None,
            p_value=None,
            interval=(score * 0.9, score * 1.1),
        )
        for name, score, chance in (("alphaRatio", 2.21e-4, 2.01e-4), ("loudness", 1.36e-3, 1.2e-4))
    ]
    return ranking(tuple(results), 39, estimator="paper")


def odd() -> Ranking:
    """Scored nowhere but in one class, NaN where None belongs, no relevance, no histogram."""
    nan = float("nan")
    first = candidate("one", 0.2, 3, dependence=nan, relevance=None, relevant=None)
    second = candidate("two", -0.1, 3, shuffled=nan, chance_sd=None, dims=3)
    first = replace(first, classes=(None, nan, 0.2), interval=(nan, nan), p_value=nan, tier=None)
    second = replace(second, classes=(None, nan, 0.2), histogram=((0, 0), 1.0, 1.0), spread=nan)
    scores = {"one": (0.2, None), "two": (None, None)}
    return ranking(
        (second, first),
        redundancy=((1.0, None), (None, nan)),
        better=((0.5, nan), (nan, 0.5)),
        sensitivity=Sensitivity(2, ("as set", "N = 10"), scores),
    )


CASES = {
    "seven": seven,
    "unsure": unsure,
    "sixty": sixty,
    "noisy": noisy,
    "several": several,
    "published": published,
    "odd": odd,
    "one": lambda: ranking((candidate("F0", 0.2, 2),), 2),
    "two classes": lambda: ranking((candidate("F0", 0.2, 2), candidate("ZCR", 0.3, 2)), 2),
    "equal": lambda: ranking((candidate("F0", 0.2, 1), candidate("ZCR", 0.2, 1)), 1),
    "zero": lambda: ranking((candidate("F0", 0.0, 2), candidate("ZCR", 0.0, 2)), 2),
    "none ranked": lambda: ranking(
        (candidate("F0", None, 0), candidate("ZCR", None, 0)),
        sensitivity=None, redundancy=((None, None), (None, None)), better=(),
    ),
    "nothing": lambda: ranking(
        (), 0, sensitivity=None, redundancy=(), better=(), warnings=(), quarantine={},
        versions={}, inputs={},
    ),
}  # fmt: skip


@cache
def page_of(name: str) -> str:
    """A case's page, drawn once for all tests."""
    return render(CASES[name]())


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest) -> tuple[Ranking, str, Page]:
    case_ranking, source = CASES[request.param](), page_of(request.param)
    assert "No estimator is shown to predict" in source
    return case_ranking, source, Page(source)


def test_every_section_is_there(case: tuple[Ranking, str, Page]) -> None:
    _, _, page = case
    sections = [attributes.get("id") for tag, attributes in page.tags if tag == "section"]
    assert tuple(sections) == SECTIONS


def test_a_page_fetches_and_runs_nothing(case: tuple[Ranking, str, Page]) -> None:
    _, source, page = case
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "action", "srcset"):
                assert (value or "").startswith(("#", "data:image/png;base64,"))
            assert not name.startswith("on")
    assert "http" not in source.replace("http-equiv", "")
    assert "@import" not in source
    assert re.findall(r"url\((?!#)", source) == []


def test_undefined_values_are_never_printed(case: tuple[Ranking, str, Page]) -> None:
    _, source, page = case
    assert not re.search(r"\b(nan|inf|None|True|False)\b(?! of the)", page.text)
    assert not re.search(r"\bnan\b", re.sub(r"base64,[^\"]*", "", source), flags=re.IGNORECASE)


def test_ids_are_unique_and_all_references_resolve(case: tuple[Ranking, str, Page]) -> None:
    _, source, page = case
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {(a.get("xlink:href") or "")[1:] for tag, a in page.tags if tag == "use"}
    assert used | set(re.findall(r"url\(#([^)]*)\)", source)) <= set(ids)


def test_figures_and_tables_are_labelled(case: tuple[Ranking, str, Page]) -> None:
    _, _, page = case
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert all(a["role"] == "img" and a["aria-label"] for a in drawings)
    wide = [a for a in drawings if a["class"] == "wide"]
    assert len(drawings) == 2 * len(wide)
    tables = [tag for tag, _ in page.tags if tag in ("table", "thead")]
    assert tables.count("table") == tables.count("thead")


def test_text_is_large_enough(case: tuple[Ranking, str, Page]) -> None:
    _, _, page = case
    sizes = [
        float(size)
        for tag, attributes in page.tags
        if tag == "text"
        for size in re.findall(r"([\d.]+)px", attributes.get("style") or "")
    ]
    assert all(size >= 11 for size in sizes)


def test_drawings_use_the_colours_of_the_page(case: tuple[Ranking, str, Page]) -> None:
    _, source, _ = case
    drawings = re.sub(r"<style>.*?</style>", "", source, flags=re.S)
    assert not set(canvas.COLOURS) & set(re.findall(r"#[0-9a-f]{6}", drawings))


@pytest.mark.parametrize("name", ["seven", "noisy", "odd"])
def test_the_same_ranking_gives_the_same_page(name: str) -> None:
    first = render(CASES[name]())
    with mpl.rc_context({"svg.fonttype": "path", "font.size": 30, "axes.facecolor": "red"}):
        assert render(CASES[name]()) == first  # whatever the user's own defaults are


def test_a_report_leaves_matplotlib_as_it_was() -> None:
    before = dict(mpl.rcParams)
    render(seven())
    assert dict(mpl.rcParams) == before


def test_hostile_names_are_inert() -> None:
    results = tuple(
        candidate(HOSTILE + str(k), 0.1 + k / 10, 2, source=HOSTILE, note=HOSTILE) for k in range(3)
    )
    hostile = ranking(
        results, 2, label=HOSTILE, class_names=(HOSTILE, "b"), warnings=(HOSTILE,),
        quarantine={HOSTILE: 1}, settings=RankSettings(label=HOSTILE, split=HOSTILE),
        versions={HOSTILE: HOSTILE}, inputs={HOSTILE: HOSTILE}, origin=Origin(HOSTILE),
        sensitivity=Sensitivity(2, (HOSTILE, "b"), {r.name: (r.score, r.score) for r in results}),
    )  # fmt: skip
    source = render(hostile)
    page = Page(source)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script" not in source
    assert HOSTILE in page.text  # as it is, neither read as markup nor as a template
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", ["", " ", "a\nb", "語" * 40, "x" * 300, "\x00", "…", "a:b:", "🎤"])
def test_any_name_can_be_drawn(name: str) -> None:
    pair = (candidate(name, 0.1, 2), candidate(name + "2", 0.2, 2))
    assert "</html>" in render(ranking(pair, 2))


def test_verdict_names_the_best() -> None:
    text = wording.verdict(seven())
    assert text == (
        "Of 5 candidates, logHNR and ZCR depend least on the speech once phone is known "
        "(robust estimator). This data does not settle which of them is best."
    )
    assert wording.verdict(unsure()).endswith("The certainty of this order was not computed.")
    little = replace(unsure(), settings=RankSettings(label="phone"))
    assert wording.verdict(little).endswith("too little data to say how certain this order is.")
    assert "too little data" in wording.certainty_text(little)


def test_verdict_claims_no_order_inside_a_tier() -> None:
    pair = (candidate("F0", 0.1, 2), candidate("ZCR", 0.2, 2))
    text = wording.verdict(ranking(pair, 2))
    assert text.startswith("This data does not settle which of 2 candidates depends least")
    settled = (pair[0], replace(pair[1], tier=2))
    text = wording.verdict(ranking(settled, 2))
    assert text.startswith("Of 2 candidates, F0 depends least")
    assert "does not settle" not in text
    assert "Within a tier" in wording.order_caption(ranking(pair, 2))


def test_the_table_and_the_figure_show_tiers_and_intervals() -> None:
    page = Page(page_of("seven"))
    for text in ("Tier 1", "Tier 3", "tier 2", "0.053 to 0.093", "1–2", "< 10⁻¹⁶", "95 % interval"):
        assert text in page.text
    assert "1,000 resamples of 56 recordings, each whole (seed 0)" in page.text
    page = Page(render(replace(seven(), resampled="speaker", units=12)))
    assert "1,000 resamples of 12 groups (speaker), each whole" in page.text
    page = Page(page_of("unsure"))
    assert "was not computed (bootstrap = 0)" in page.text
    assert not re.search(r"[Tt]ier \d|95 %", page.text)


def test_few_candidates_are_compared_in_all_pairs_and_many_with_their_neighbours() -> None:
    few, many = page_of("seven"), page_of("sixty")
    assert 'id="better-wide-' in few
    assert 'id="better-wide-' not in many
    assert "only neighbours in the order are compared" in many
    assert summary.neighbours(sixty())[58][2] == "99"
    assert len(summary.neighbours(sixty())) == 59


def test_probabilities_from_resamples_stay_between_1_and_99_percent() -> None:
    assert [summary.probability_text(p) for p in (0.0, 0.004, 0.5, 0.999, 1.0, None)] == [
        "1", "1", "50", "99", "99", "–",
    ]  # fmt: skip


def test_the_legend_mentions_candidates_without_relevance() -> None:
    source = page_of("noisy")
    assert "not beyond noise’s (p ≥ .01)" in source
    assert "not beyond noise" not in page_of("seven")


def test_relevant_candidates_are_also_ordered_by_relevance_over_dependence() -> None:
    first = candidate("one", 0.1, 3, relevance=0.2, dependence=0.8)
    second = candidate("other", 0.2, 3, relevance=0.1, dependence=0.2)
    noise = candidate("noise", 0.0, 3, relevance=0.001, dependence=0.0, relevant=False)
    text = wording.ingredients_caption(ranking((noise, first, second)))
    assert text.startswith("one is the most relevant to phone")
    assert "the order is other and one." in text
    assert "share of dependence" not in wording.ingredients_caption(ranking((noise, first)))


def test_verdict_sets_noise_aside() -> None:
    text = wording.verdict(noisy())
    assert "candidate0 and candidate1 depend least" in text
    assert "noise" not in text
    page = Page(page_of("noisy"))
    assert "Not relevant to phone: no rank" in page.text
    assert "Those without relevance stand last" in wording.order_caption(noisy())


def test_each_kind_has_a_verdict_an_order_and_figures_of_its_own() -> None:
    text = wording.verdict(several())
    assert text == (
        "Of 2 numbers relevant to phone, F0 depends least on the speech once phone is known "
        "(robust estimator). The only ranked vector is not relevant to phone: there is no order. "
        "speaker is the only category: there is nothing to compare it with."
    )
    source = page_of("several")
    page = Page(source)
    assert "have no common order" in page.text
    for name in ("Numbers", "Vectors", "Categories"):
        assert f"<h3>{name}</h3>" in source
    for name in ("order-scalar", "order-vector", "order-category", "better-scalar"):
        assert f'id="{name}-wide-' in source
    assert 'id="better-category-wide-' not in source
    assert "faint relevance" in page.text
    assert "have no common order" not in page_of("seven")
    assert [part.kinds for part in summary.parts(several())] == [
        ("scalar",), ("vector",), ("category",),
    ]  # fmt: skip


def test_ranks_are_within_a_kind_and_ties_share_theirs() -> None:
    assert several().ranks == {"F0": 1, "ZCR": 2, "speaker": 1}
    tied = (candidate("a", 0.1, 2), candidate("b", 0.1, 2), candidate("c", 0.2, 2))
    assert ranking(tied, 2).ranks == {"a": 1, "b": 1, "c": 3}
    assert several().of_kind("scalar").better == (
        (0.5, 0.99, None), (0.01, 0.5, None), (None, None, None),
    )  # fmt: skip
    assert [r.name for r in summary.leaders(several())] == ["F0", "speaker"]


def test_verdict_without_a_ranking() -> None:
    assert wording.verdict(CASES["none ranked"]()).startswith("None of the 2 candidates")
    assert "nothing to compare" in wording.verdict(CASES["one"]())
    irrelevant = ranking((candidate("F0", 0.1, 2, relevant=False),), 2)
    assert "there is no order" in wording.verdict(irrelevant)


def test_chance_is_given_as_a_share_of_the_score() -> None:
    page = Page(page_of("published"))
    assert "91 %" in page.text  # 2.01 / 2.21
    assert "For 1 of 2" in page.text


def test_of_many_classes_the_largest_are_drawn_and_the_caption_says_so() -> None:
    text = wording.classes_caption(noisy())
    assert "Of 1,251 classes the 40 with the largest shares are drawn" in text
    assert summary.drawn_classes(noisy())[0] == 1250  # the shares are equal: the most segments


def test_redundant_pairs_are_named() -> None:
    pair = (candidate("F0", 0.1, 2), candidate("ZCR", 0.2, 2))
    correlated = ranking(pair, 2, redundancy=((1.0, -0.85), (-0.85, 1.0)))
    assert "F0 and ZCR (−0.85)" in wording.redundancy_caption(correlated)
    assert wording.redundancy_caption(ranking(pair, 2)) == "No pair reaches |ρ| = 0.8."


def test_sensitivity_counts_settings_that_keep_the_best() -> None:
    trio = tuple(candidate(name, score, 2) for name, score in (("a", 0.1), ("b", 0.2), ("c", 0.3)))
    scores: dict[str, tuple[float | None, ...]]
    scores = {"a": (1.0, 1.0, 3.0), "b": (2.0, 2.0, 2.0), "c": (3.0, 3.0, 1.0)}
    sensitivity = Sensitivity(99, ("as set", "N = 10", "N = 40"), scores)
    text = wording.sensitivity_caption(ranking(trio, 2, sensitivity=sensitivity))
    assert text.startswith("1 of 2 other settings keeps a first.")
    assert "is −1.00 (N = 40)" in text


def test_opensmile_licence_is_shown_where_it_applies() -> None:
    own = ranking((candidate("F0", 0.1, 2, source="own:F0"),), 2)
    assert "openSMILE is free" in page_of("seven")
    assert "openSMILE is free" not in render(own)


def test_the_report_says_what_the_command_cannot_reproduce() -> None:
    assert "chosen in Python" not in page_of("seven")
    cut = render(replace(seven(), origin=Origin("m", level="utterance", stretches=((0, 9),))))
    assert "The segments were read by utterance and chosen in Python" in cut
    assert "The segments were chosen" in render(replace(seven(), origin=Origin("m", stretches=())))
