"""The command line: arguments, one call of a public function, one line saying where it went."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from augury.cli.console import err, open_reporter, out, warn
from augury.errors import InputError, MissingPackage
from augury.report.text import clock

if TYPE_CHECKING:
    from augury.corpus.check import Check
    from augury.corpus.read import PreparedCorpus
    from augury.downstream.result import Evaluation
    from augury.pretraining.result import Pretrained
    from augury.ranking.result import Ranking, Result
    from augury.validation.validate import JobPlan, Validation

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Which pretext task will help a speech model, told before you pretrain.",
    epilog="Start with: augury demo",
)
Source = Annotated[
    Path,
    typer.Argument(
        metavar="MANIFEST",
        help="CSV, TSV, JSON Lines or Parquet with a column `path` (and `start`, `end`, labels), "
        "a Kaldi data folder, or TIMIT, VoxCeleb1 or Common Voice as they unpack.",
    ),
]
Speech = Annotated[
    Path,
    typer.Argument(
        metavar="MANIFEST",
        help="Speech, labelled or not: a manifest as for `augury rank`, or a folder of recordings.",
    ),
]
AllowOutside = Annotated[
    bool, typer.Option("--allow-outside", help="Accept audio outside the manifest's folder.")
]
Preset = Annotated[
    str, typer.Option(help="small (minutes on two cores), paper (the paper's), or a TOML file.")
]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="As many as the preset says, if not given.")
]
MaxBad = Annotated[
    float | None, typer.Option(help="Share of clips or segments that may be unusable (0.05).")
]
Store = Annotated[
    Path | None, typer.Option(help="Folder of what was computed once, shared by all commands.")
]
Jobs = Annotated[int, typer.Option(min=0, help="Processes; 0: enough for all cores.")]
Cluster = Annotated[
    str,
    typer.Option(
        help="Run on Dask: a scheduler's address (tcp://host:8786), local (--jobs processes "
        "here), slurm (--jobs workers, as your dask-jobqueue configuration says), or a YAML "
        "file with such a configuration."
    ),
]
Device = Annotated[str, typer.Option(help="cpu or cuda; a GPU where there is one, if not given.")]
Minutes = Annotated[
    float, typer.Option(min=0.01, help="Between checkpoints; each epoch ends with one too.")
]


def _version(wanted: bool) -> None:
    if wanted:
        from augury import __version__

        out.print(f"augury {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which this is.")
    ] = False,
) -> None:
    """What every command shares."""


@app.command()
def rank(
    manifest: Source,
    label: Annotated[str, typer.Option(help="Column with the downstream label.")],
    candidates: Annotated[
        str,
        typer.Option(
            help="Comma-separated pseudo-labels (see `augury candidates`); the paper's seven if "
            "not given."
        ),
    ] = "",
    estimator: Annotated[
        str, typer.Option(help="robust, paper (eqs. 1-4) or released (the authors' code).")
    ] = "robust",
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder for ranking.json, .csv and report.html.")
    ] = Path("augury-out"),
    embedding: Annotated[str, typer.Option(help="gaussian (downsampling) or svcca.")] = "gaussian",
    parts: Annotated[
        int, typer.Option(help="N of the embedding; 0: 20, or 10 for `released`.")
    ] = 0,
    downsampling_width: Annotated[
        float, typer.Option(help="σ of the downsampling, a fraction of a segment.")
    ] = 0.07,
    kernel_width: Annotated[
        float, typer.Option(help="σ of the pseudo-label kernel; `paper` only.")
    ] = 0.05,
    unvoiced: Annotated[
        str,
        typer.Option(
            help="published: means include openSMILE's 0 (F0) or -100 (log HNR) where there is no "
            "voice; voiced: voiced frames only."
        ),
    ] = "published",
    split: Annotated[str, typer.Option(help="Use only rows of this split.")] = "",
    exclude: Annotated[
        list[str] | None, typer.Option(help="A label to leave out; may be given again.")
    ] = None,
    max_bad: Annotated[float, typer.Option(help="Share of segments that may be unusable.")] = 0.05,
    sensitivity: Annotated[
        bool, typer.Option(help="Look at the order under other settings too.")
    ] = True,
    tolerance: Annotated[
        float, typer.Option(help="Relative error that approximations of a class's value aim at.")
    ] = 1e-6,
    bootstrap: Annotated[
        int,
        typer.Option(
            min=0,
            help="Resamples behind intervals of scores and ranks, and tiers; 0: none of these, nor "
            "p-values by moments.",
        ),
    ] = 1000,
    group: Annotated[
        str,
        typer.Option(
            help="What is resampled whole: a column (such as speaker), recording, or segment. If "
            "not given: recording where recordings have several segments, else segment."
        ),
    ] = "",
    permutations: Annotated[
        int,
        typer.Option(
            min=0,
            help="Shuffles behind the scores' p-values; 0: by moments for `robust`, none for the "
            "others.",
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of resamples and shuffles.")] = 0,
    allow_outside: AllowOutside = False,
    store: Store = None,
    jobs: Jobs = 0,
    cluster: Cluster = "",
    device: Annotated[
        str, typer.Option(help="Score on a device of torch, such as cuda; the CPU if not given.")
    ] = "",
) -> None:
    """Rank candidate pseudo-labels for a labelled set: lower is better, nothing is trained."""
    from augury.corpus.read import read_corpus
    from augury.pseudolabels.candidate import SEVEN
    from augury.ranking.rank import rank as ranked

    with _plain_errors():
        names = tuple(candidates.split(",")) if candidates else tuple(SEVEN)
        _licence(names)
        corpus = read_corpus(manifest, allow_outside=allow_outside)
        for option, folder in (("--out", out_dir), ("--store", store)):
            _usable(option, folder)  # now, not after the work
        with open_reporter() as reporter, _quarantined(out_dir):
            ranking = ranked(
                corpus,
                names,
                label=label,
                out=out_dir,
                store=store,
                jobs=jobs or None,
                cluster=cluster or None,
                device=device or None,
                reporter=reporter,
                estimator=estimator,
                embedding=embedding,
                parts=parts,
                downsampling_width=downsampling_width,
                kernel_width=kernel_width,
                unvoiced=unvoiced,
                split=split,
                exclude=tuple(exclude or ()),
                max_bad=max_bad,
                sensitivity=sensitivity,
                tolerance=tolerance,
                bootstrap=bootstrap,
                group=group,
                permutations=permutations,
                seed=seed,
            )
        _show(ranking)
        out.print(f"report: {out_dir / 'report.html'}", soft_wrap=True)


@app.command()
def pretrain(
    manifest: Speech,
    pseudo_labels: Annotated[
        str,
        typer.Option(
            help="Comma-separated pseudo-labels (see `augury candidates`); none: only reconstruct."
        ),
    ] = "",
    ranking: Annotated[
        Path | None,
        typer.Option("--from", help="A ranking.json whose best candidates to pretrain with."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many of them.")] = 1,
    weights: Annotated[
        str,
        typer.Option(
            help="Pseudo-labels with their weights in the loss: F0=0.7,zcr=0.3, or a JSON file; "
            "with --from, of what was ranked there."
        ),
    ] = "",
    preset: Preset = "small",
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder for the encoder, its report and its log.")
    ] = Path("augury-encoder"),
    split: Annotated[str | None, typer.Option(help="Pretrain on rows of this split.")] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            help="Share of recordings to hold out, or the name of a split; 0: none. If neither "
            "this nor the preset says: 0.05."
        ),
    ] = None,
    unvoiced: Annotated[
        str | None,
        typer.Option(
            help="published: predict openSMILE's 0 (F0) or -100 (log HNR) where there is no voice "
            "(if nothing else is said); voiced: predict nothing there."
        ),
    ] = None,
    epochs: Epochs = None,
    patience: Annotated[
        int | None,
        typer.Option(min=0, help="Stop after so many epochs without improvement; 0: never."),
    ] = None,
    max_bad: MaxBad = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of weights, batches, dropout and what is held out (0)."),
    ] = None,
    allow_outside: AllowOutside = False,
    store: Store = None,
    jobs: Jobs = 0,
    device: Device = "",
    minutes: Minutes = 10.0,
    prepare_only: Annotated[
        bool,
        typer.Option("--prepare-only", help="Only extract, so that no GPU has to wait for it."),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write for TensorBoard too.")
    ] = False,
) -> None:
    """Pretrain an encoder on unlabelled speech to predict pseudo-labels.

    Stopped, killed or preempted, the same command goes on where it was. On several GPUs or nodes:
    torchrun --nproc-per-node 4 -m augury pretrain …
    """
    with _plain_errors():
        from augury.corpus.read import is_timit, read_corpus
        from augury.pretraining.choice import Choice, choose, from_ranking, read_weights

        _needs_torch()
        if bool(pseudo_labels) == (ranking is not None or bool(weights)):
            raise InputError(
                "say what to predict with --pseudo-labels F0,zcr (or none), with "
                "--from ranking.json, or with --weights F0=0.7,zcr=0.3"
            )
        choice: Choice
        if ranking is not None:
            weighted = read_weights(weights) if weights else None
            choice = from_ranking(ranking, top=top, weights=weighted)
            for name in choice.passed_over:
                err.print(
                    f"passed over: {name}, which is not relevant to {choice.ranking['label']}"
                )
        elif weights:
            choice = choose(read_weights(weights))
        else:
            names = [name.strip() for name in pseudo_labels.split(",") if name.strip()]
            if not names:
                raise InputError("--pseudo-labels names none; to only reconstruct, say none")
            choice = choose([] if names == ["none"] else names)
        from augury.pretraining.pretrain import pretrain as pretrained

        first = _is_first()  # of several processes
        if first and choice.weights:
            _licence(tuple(choice.weights))
        level = "utterance" if is_timit(manifest) else None  # phones are no clips to learn from
        corpus = read_corpus(manifest, allow_outside=allow_outside, level=level)
        _usable("--out", out_dir)
        _usable("--store", store)
        choices: dict[str, Any] = {
            "split": split, "validation": validation, "unvoiced": unvoiced, "epochs": epochs,
            "patience": patience, "max_bad": max_bad, "seed": seed,
        }  # fmt: skip
        with open_reporter(silent=not first) as reporter, _stopped():
            done = pretrained(
                corpus,
                choice,
                out=out_dir,
                preset=preset,
                store=store,
                jobs=jobs or None,
                device=device or None,
                minutes=minutes,
                tensorboard=tensorboard,
                prepare_only=prepare_only,
                reporter=reporter,
                **{name: value for name, value in choices.items() if value is not None},
            )
        if not first:
            return
        if done is None:
            out.print(f"prepared: {out_dir}; the same command without --prepare-only pretrains")
            return
        _show_pretrained(done)
        out.print(f"report: {out_dir / 'report.html'}", soft_wrap=True)


@app.command()
def encode(
    recordings: Annotated[list[Path], typer.Argument(metavar="AUDIO…", help="Recordings.")],
    encoder: Annotated[Path, typer.Option(help="Folder that `augury pretrain` wrote.")],
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder for one NAME.npy a recording.")
    ] = Path("features"),
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Write a pretrained encoder's features of recordings: (frames, dimensions), 100 a second."""
    with _plain_errors():
        _needs_torch()
        from augury.learning.processes import find_device
        from augury.pretraining.encode import encode_files, load_encoder

        _usable("--out", out_dir)
        bad = 0
        loaded = load_encoder(encoder).to(find_device(device))
        for path, found in encode_files(loaded, recordings, out_dir):
            if isinstance(found, Exception):
                bad += 1
                err.print(f"left out: {found}", style="yellow", soft_wrap=True)
            else:
                out.print(f"{path} → {found}", soft_wrap=True)
    if bad:
        raise typer.Exit(1)


@app.command()
def evaluate(
    task: Annotated[
        str,
        typer.Argument(help="asr, speaker, classify, or your own as module:Class."),
    ],
    manifest: Source,
    label: Annotated[
        str,
        typer.Option(help="Column with the transcript (asr), the speaker, or the class to tell."),
    ] = "",
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder that `augury pretrain` wrote; mel: log-mel alone; random: never trained. "
            "May be given again; mel if not given."
        ),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="frozen, or finetune: the encoder is trained along.")
    ] = "frozen",
    preset: Preset = "small",
    seeds: Annotated[int, typer.Option(min=1, help="How often each is trained.")] = 3,
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder of the results; other encoders can be added.")
    ] = Path("augury-evaluation"),
    train: Annotated[str | None, typer.Option(help="Split to train on.")] = None,
    validation: Annotated[
        str | None, typer.Option(help="Split, or share of the speakers, to choose the epoch by.")
    ] = None,
    test: Annotated[
        str | None, typer.Option(help="Split, or share of the speakers, to test on.")
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2, help="Test on each of so many parts of the speakers in turn; not for speaker."
        ),
    ] = None,
    shared_speakers: Annotated[
        bool, typer.Option("--shared-speakers", help="Let speakers be in train and test both.")
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="A label, or a symbol of transcripts, to leave out; may be given again."),
    ] = None,
    units: Annotated[str | None, typer.Option(help="asr: phones, characters or words.")] = None,
    fold: Annotated[
        str | None,
        typer.Option(
            help="asr: fold phones to TIMIT's 39 or 48: timit39, timit48, arpabet39, arpabet48."
        ),
    ] = None,
    joined: Annotated[
        bool,
        typer.Option(
            "--joined", help="asr: rows are phones; a recording's, in order, are its transcript."
        ),
    ] = False,
    decoder: Annotated[
        str | None, typer.Option(help="asr: attention (with CTC), or ctc alone: fast.")
    ] = None,
    trials: Annotated[
        str | None,
        typer.Option(help="speaker: a list of trials such as VoxCeleb's; made if not given."),
    ] = None,
    epochs: Epochs = None,
    other: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Any other setting, as in a preset: hidden=256. Again for more."
        ),
    ] = None,
    max_bad: MaxBad = None,
    allow_outside: AllowOutside = False,
    store: Store = None,
    jobs: Jobs = 0,
    device: Device = "",
    minutes: Minutes = 10.0,
) -> None:
    """Train and score a downstream task on pretrained encoders: what did pretraining help?

    Stopped or killed, the same command goes on where it was; with another --encoder and the same
    --out, that one is added to the report.
    """
    with _plain_errors():
        from augury.corpus.read import is_timit, read_corpus

        _needs_torch()
        from augury.downstream.evaluate import evaluate as evaluated
        from augury.downstream.tasks.task import find_task

        find_task(task)  # now, not after the corpus was read
        choices: dict[str, Any] = {
            "label": label or None, "mode": mode, "train": train, "validation": validation,
            "test": test, "folds": folds, "shared_speakers": shared_speakers or None,
            "exclude": tuple(exclude) if exclude else None, "units": units, "fold": fold,
            "joined": joined or None, "decoder": decoder, "trials": trials, "epochs": epochs,
            "max_bad": max_bad,
        }  # fmt: skip
        choices = {name: value for name, value in choices.items() if value is not None}
        choices |= _settings(other or ())
        level = None
        if is_timit(manifest) and task in ("asr", "speaker"):
            level = "utterance"
            if task == "asr":  # as published
                choices = {"label": "phones", "fold": "timit39"} | choices
        if task in ("asr", "classify") and "label" not in choices:
            raise InputError("say with --label which column is to be told")
        corpus = read_corpus(manifest, allow_outside=allow_outside, level=level)
        _usable("--out", out_dir)
        _usable("--store", store)
        first = _is_first()
        with open_reporter(silent=not first) as reporter, _stopped():
            done = evaluated(
                task,
                corpus,
                encoder or ["mel"],
                out=out_dir,
                preset=preset,
                seeds=seeds,
                store=store,
                jobs=jobs or None,
                device=device or None,
                minutes=minutes,
                reporter=reporter,
                **choices,
            )
        if first:
            _show_evaluation(done)
            out.print(f"report: {out_dir / 'report.html'}", soft_wrap=True)


@app.command()
def select(
    ranking: Annotated[Path, typer.Argument(help="A ranking.json that `augury rank` wrote.")],
    best: Annotated[
        int, typer.Option(min=0, metavar="K", help="The K best that are relevant.")
    ] = 0,
    worst: Annotated[
        int, typer.Option(min=0, metavar="K", help="The K worst, relevant or not.")
    ] = 0,
    greedy: Annotated[int, typer.Option(min=0, metavar="K", help="K good ones, little alike.")] = 0,
    mrmr: Annotated[
        int, typer.Option(min=0, metavar="K", help="K of high relevance, little alike (mRMR).")
    ] = 0,
    random: Annotated[int, typer.Option(min=0, metavar="K", help="K at random.")] = 0,
    everything: Annotated[bool, typer.Option("--all", help="All that were ranked.")] = False,
    weights: Annotated[
        str,
        typer.Option(
            help="Learn weights of the relevant ones by the measure itself: softmax, or sparsemax "
            "(many are 0)."
        ),
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of --random.")] = 0,
    manifest: Annotated[
        Path | None,
        typer.Option(help="For --weights: where the manifest is now, if the ranking's has moved."),
    ] = None,
    store: Store = None,
    jobs: Jobs = 0,
    out_file: Annotated[
        Path, typer.Option("--out", help="JSON for `augury pretrain --weights`.")
    ] = Path("weights.json"),
) -> None:
    """Choose pseudo-labels to pretrain with together, from a ranking."""
    with _plain_errors():
        from augury.ranking import selection
        from augury.ranking.result import Ranking
        from augury.ranking.weights import learn_weights_from_store

        counts = {"best": best, "worst": worst, "greedy": greedy, "mrmr": mrmr, "random": random}
        asked = [name for name, k in counts.items() if k]
        if len(asked) + everything + bool(weights) != 1:
            raise InputError(
                "say how to choose: one of --best K, --worst K, --greedy K, --mrmr K, --random K, "
                "--all, --weights softmax"
            )
        ranked = Ranking.read(ranking)
        if weights:
            with open_reporter() as reporter, _quarantined(out_file.parent):
                found = learn_weights_from_store(
                    ranked, kind=weights, manifest=manifest, store=store, jobs=jobs or None,
                    reporter=reporter,
                )  # fmt: skip
        elif everything:
            found = selection.everything(ranked)
        elif random:
            found = selection.random(ranked, random, seed)
        else:
            found = getattr(selection, asked[0])(ranked, counts[asked[0]])
        found.write(out_file)
        for name, weight in found.weights.items():
            out.print(f"{weight:.3f}  {name}", soft_wrap=True)
        if "objective" in found.about:
            first, last = (found.about["objective"][name] for name in ("equal", "learned"))
            out.print(
                f"dependence given the label: {first:.4f} at equal weights, {last:.4f} so; of what "
                f"is independent chance makes ± {found.about['chance']:.4f}"
            )
        out.print(f"{found.method}: {out_file}", soft_wrap=True)


@app.command()
def validate(
    recipe: Annotated[Path, typer.Argument(help="A recipe in TOML; see the folder recipes.")],
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder for tables, figures and report.")
    ] = Path("augury-validation"),
    plan: Annotated[
        bool, typer.Option("--plan", help="Only print the jobs, and about how long they take.")
    ] = False,
    store: Store = None,
    jobs: Annotated[
        int, typer.Option(min=0, help="Jobs at a time, a core each; 0: as many as cores.")
    ] = 0,
    cluster: Cluster = "",
    device: Device = "",
    minutes: Minutes = 2.0,
) -> None:
    """See whether rankings tell the truth: pretrain with every candidate, judge, correlate.

    Stopped or killed, the same command goes on where it was; a job that ended is not run again.
    """
    with _plain_errors():
        _needs_torch()
        from augury.validation.recipe import read_recipe
        from augury.validation.validate import plan_jobs
        from augury.validation.validate import validate as validated

        read = read_recipe(recipe)
        _usable("--store", store)
        if plan:
            _show_plan(plan_jobs(read, store, out_dir), jobs)
            return
        _usable("--out", out_dir)
        with open_reporter() as reporter, _stopped(), _quarantined(out_dir):
            done = validated(
                read,
                out=out_dir,
                store=store,
                jobs=jobs or None,
                cluster=cluster or None,
                device=device or None,
                minutes=minutes,
                reporter=reporter,
            )
        _show_validation(done)
        out.print(f"report: {out_dir / 'report.html'}", soft_wrap=True)
    if done.failed:
        raise typer.Exit(1)


@app.command()
def check(
    manifest: Source,
    allow_outside: AllowOutside = False,
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode every file whole, not just its header.")
    ] = False,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Write the problems to this CSV file.")
    ] = None,
) -> None:
    """Validate a corpus and say what is in it."""
    from augury.corpus.check import check as checked
    from augury.corpus.manifest import write_quarantine
    from augury.corpus.read import read_corpus

    with _plain_errors():
        found = checked(read_corpus(manifest, allow_outside=allow_outside), decode=decode)
        _show_check(found)
        if out_file:
            write_quarantine(found.rejected, out_file)
            out.print(f"problems: {out_file}", soft_wrap=True)
    if found.rejected:
        raise typer.Exit(1)


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="timit, voxceleb1 or common_voice.")],
    root: Annotated[Path, typer.Argument(help="The corpus, as its archives unpack.")],
    manifest: Annotated[Path, typer.Option("--out", help="The manifest to write.")] = Path(
        "manifest.csv"
    ),
    split: Annotated[
        str | None,
        typer.Option(
            help="What the column `split` is. timit: core (24 test and 50 dev speakers, no SA "
            "sentences), complete (168 test speakers) or folders (SA sentences too). voxceleb1: "
            "verification or identification."
        ),
    ] = None,
    level: Annotated[str | None, typer.Option(help="timit: phone or utterance.")] = None,
    stats: Annotated[
        Path | None,
        typer.Option(
            help="common_voice: the release's JSON file of github.com/common-voice/cv-dataset, to "
            "compare counts with."
        ),
    ] = None,
    allow_outside: AllowOutside = False,
) -> None:
    """Write the manifest of a published corpus, and compare it with what was published."""
    from augury.corpus.read import prepare as prepared

    with _plain_errors():
        done = prepared(
            name, root, manifest, split=split, level=level, stats=stats,
            allow_outside=allow_outside,
        )  # fmt: skip
        _show_prepared(done)
        out.print(f"manifest: {done.manifest}", soft_wrap=True)


@app.command()
def demo(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the reports.")] = Path(
        "augury-demo"
    ),
    jobs: Jobs = 0,
) -> None:
    """Rank the paper's seven on the speech that ships with Augury, for two tasks."""
    from augury.corpus.read import read_corpus
    from augury.pseudolabels.candidate import SEVEN
    from augury.ranking.rank import rank as ranked

    with _plain_errors():
        _licence(tuple(SEVEN))
        corpus = read_corpus(Path(__file__).parents[1] / "demo_data" / "manifest.csv")
        labels = ("speaker", "digit")
        for label in labels:
            with open_reporter() as reporter:
                ranking = ranked(
                    corpus, label=label, out=out_dir / label, jobs=jobs or None, reporter=reporter
                )
            _show(ranking)
        for label in labels:
            out.print(f"report: {out_dir / label / 'report.html'}", soft_wrap=True)


@app.command()
def candidates(
    feature_set: Annotated[
        str, typer.Argument(help="List an openSMILE set's descriptors, such as ComParE_2016.")
    ] = "",
) -> None:
    """List the pseudo-labels that can be ranked."""
    from augury.pseudolabels import opensmile, own
    from augury.pseudolabels.candidate import SEVEN

    with _plain_errors():
        if feature_set:
            for column in opensmile.descriptor_names(feature_set):
                out.print(f"opensmile:{feature_set}:{column}", soft_wrap=True)
            return
        table = Table("candidate", "is", box=None)
        for name, source in SEVEN.items():
            table.add_row(name, source)
        for name in own.NAMES:
            table.add_row(f"own:{name}", (getattr(own, name).__doc__ or "").split("\n")[0])
        table.add_row("opensmile:SET:COLUMN", "augury candidates SET lists a set's columns")
        table.add_row("module:function", "yours: (signal, rate) -> (frames,) or (frames, dims)")
        table.add_row("column:NAME", "a column of the manifest, numbers or categories")
        out.print(table)


def main() -> None:
    """Run the command line."""
    app()


# --------------------------------------------------------------------------------- what is shown


def _needs_torch() -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise MissingPackage(
            "this needs torch, which is not installed: install the build of torch for your "
            "machine, then pip install 'augury[train]'"
        )


def _is_first() -> bool:
    """Whether this process, of those that torchrun started, is the one that speaks."""
    return os.environ.get("RANK", "0") == "0"


def _settings(given: Iterable[str]) -> dict[str, Any]:
    """What --set says: NAME=VALUE, the value as in TOML, or else a text."""
    import tomllib

    found: dict[str, Any] = {}
    for one in given:
        name, is_, value = one.partition("=")
        if not is_:
            raise InputError(f"--set {one}: write NAME=VALUE, such as epochs=5")
        try:
            found[name.strip()] = tomllib.loads(f"x = {value}")["x"]
        except tomllib.TOMLDecodeError:
            found[name.strip()] = value
    return found


def _show_evaluation(done: Evaluation) -> None:
    counts = ", ".join(
        f"{done.data[part]['segments']:,} {part}" for part in ("train", "validation", "test")
    )
    out.print()
    out.print(
        f"{done.task}: {counts} · {done.metric.description} · lower is better", style="italic"
    )
    table = Table(box=None, pad_edge=False)
    for name in ("encoder", "mode", done.metric.name, "sd", "95 % over seeds", "seeds"):
        table.add_column(name, justify="left" if name in ("encoder", "mode") else "right")
    for one in done.models_by_error():
        ends = one.interval
        table.add_row(
            one.name,
            one.mode,
            f"{one.mean:.2%}",
            "" if one.standard_deviation is None else f"{one.standard_deviation:.2%}",
            "" if ends is None else f"{ends[0]:.2%} to {ends[1]:.2%}",
            str(len(one.outcomes)),
        )
    out.print(table)
    for warning in done.warnings:
        out.print(f"! {warning}", style="yellow")
    if done.data["left_out"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in done.data["left_out"].items())
        out.print(f"left out: {reasons} (quarantine.csv)")


def _show_plan(plan: JobPlan, jobs: int) -> None:
    from augury.compute import cores

    for job, known, seconds in plan.jobs:
        state = "known" if known else clock(seconds) if seconds else "to do"
        out.print(f"{state:>8}  {job.name}", soft_wrap=True)
    if plan.later:
        out.print(f"{'later':>8}  {plan.later} jobs of groups, chosen by the rankings")
    left = sum(not known for _, known, _ in plan.jobs)
    at_once = jobs or cores()
    out.print(
        f"{len(plan.jobs)} jobs, {left} to do: about {clock(plan.seconds)} of one core, "
        f"{clock(plan.seconds / at_once)} with {at_once} at a time"
    )


def _show_validation(done: Validation) -> None:
    from augury.validation.report import Wording

    said = Wording(done.analysis, done.recipe)
    out.print()
    out.print(said.verdict())
    table = Table(box=None, pad_edge=False)
    for name in ("task", "regime", "log-mel", "random", "reconstruction", "between seeds", ""):
        table.add_column(name, justify="left" if name in ("task", "regime", "") else "right")
    for one in done.analysis.gates:
        shares = [said.percent(v) for v in (one.mel, one.random, one.reconstruction)]
        table.add_row(one.task, one.regime, *shares, said.number(one.ceiling), said.gate(one))
    out.print(table)
    for one in done.failed:
        where = f"; see {one.log}" if one.log else ""
        warn(f"failed: {one.job.name}: {one.reason}{where}")


def _usable(option: str, folder: Path | None) -> None:
    try:
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{option} {folder}: not a folder to write to: {error.strerror}"
        ) from error


def _licence(names: tuple[str, ...]) -> None:
    from augury.pseudolabels import opensmile
    from augury.pseudolabels.candidate import parse_candidates as parsed

    if any(one.kind == "opensmile" for one in parsed(names)):
        err.print(f"Note: {opensmile.LICENCE}", style="dim")


def _show(ranking: Ranking) -> None:
    from augury.ranking.summary import interval_text, ranks_text
    from augury.ranking.wording import UNPROVEN, resampling_text
    from augury.report.text import Unit, decimal, format_p

    raw = "" if ranking.estimator == "robust" else ", in raw units"
    title = (
        f"{ranking.label}: {ranking.segments:,} segments, {len(ranking.class_names):,} classes · "
        f"{ranking.estimator} estimator{raw} · lower is better"
    )
    table = Table(box=None, pad_edge=False)
    ranked = [result for result in ranking.results if result.score is not None]
    unit = Unit.of(result.score for result in ranked)
    sure = any(result.interval for result in ranked)
    tested = any(result.p_value is not None for result in ranked)
    columns: tuple[tuple[str, Callable[[int, Result], str], bool], ...] = (
        ("tier", lambda _, one: str(one.tier), sure),
        ("rank", lambda place, _: str(place), True),
        ("95 %", lambda _, one: ranks_text(one.rank_interval), sure),
        ("candidate", lambda _, one: one.name, True),
        (f"CI estimate{unit.suffix}", lambda _, one: unit.text(one.score), True),
        ("95 %", lambda _, one: interval_text(one.interval, unit), sure),
        ("p", lambda _, one: format_p(one.p_value), tested),
        ("shuffled", lambda _, one: unit.text(one.shuffled), not tested),
        ("relevance", lambda _, one: decimal(one.relevance, 3), True),
        ("", lambda _, one: "no relevance" if one.relevant is False else "", True),
    )
    shown = [column for column in columns if column[2]]
    for name, _, _ in shown:  # a name may be long: its column is the one that gives way
        side = "left" if name in ("candidate", "") else "right"
        table.add_column(name, justify=side, no_wrap=name != "candidate", overflow="fold")
    for place, result in enumerate(ranked, 1):
        table.add_row(*(text(place, result) for _, text, _ in shown))
    out.print()
    out.print(title, style="italic")
    out.print(table)
    for result in ranking.results:
        if result.score is None:
            out.print(f"not ranked: {result.name}, {result.status}: {result.note}")
    if sure:
        out.print(f"95 %: of {resampling_text(ranking)}. Within a tier the order is not settled.")
    out.print(UNPROVEN)
    for warning in ranking.warnings:
        out.print(f"! {warning}", style="yellow")
    if ranking.quarantine:
        reasons = ", ".join(f"{count} {reason}" for reason, count in ranking.quarantine.items())
        out.print(f"left out: {reasons} (quarantine.csv)")


def _show_check(found: Check) -> None:
    out.print(
        f"{found.rows:,} rows: {found.segments:,} usable segments in {found.recordings:,} "
        f"recordings, {found.hours:.2f} h (of {found.recorded_hours:.2f} h recorded)",
        highlight=False,
    )
    lengths = ", ".join(f"{name} {seconds:.2f}" for name, seconds in found.durations.items())
    rates = ", ".join(f"{count:,} at {rate:,} Hz" for rate, count in found.rates.items())
    formats = ", ".join(f"{count:,} {name}" for name, count in found.formats.items())
    for title, text in (("seconds", lengths), ("sample rates", rates), ("formats", formats)):
        if text:
            out.print(f"{title}: {text}")
    table = Table("column", "classes", "largest", "smallest", "of one segment", "empty", box=None)
    for labels in found.labels:
        table.add_row(
            labels.column,
            f"{labels.classes:,}",
            ", ".join(f"{name} ({count:,})" for name, count in labels.top[:3]),
            f"{labels.smallest[0]} ({labels.smallest[1]:,})" if labels.smallest else "",
            f"{labels.singletons:,}",
            f"{labels.absent:,}",
        )
    out.print(table)
    if not found.rejected:
        out.print("no problems found", style="green")
        return
    for reason, count in found.problems.items():
        out.print(f"! {count:,} {reason}", style="yellow")
    for one in found.rejected[:20]:
        out.print(f"  row {one.row}: {one.detail}", soft_wrap=True)
    if len(found.rejected) > 20:
        out.print(f"  and {len(found.rejected) - 20:,} more; --out FILE.csv writes all")


def _show_prepared(done: PreparedCorpus) -> None:
    corpus = done.corpus
    out.print(
        f"{len(corpus):,} segments in {len(corpus.recordings):,} recordings of "
        f"{len(set(corpus.label('speaker').tolist())):,} speakers; columns: "
        f"{', '.join(corpus.columns)}",
        soft_wrap=True,
    )
    splits = Counter(corpus.label("split").tolist())
    counted = (f"{count:,} {split or 'in none'}" for split, count in splits.most_common())
    out.print(f"splits: {', '.join(counted)}")
    for one in done.counts:
        if one.found != one.published:
            warn(f"{one.found:,} {one.name}, but {one.published:,} were published")
    if not done.counts:
        out.print("no published counts to compare with are known for this release")
    elif all(one.found == one.published for one in done.counts):
        out.print("as many utterances and speakers as published", style="green")
    if corpus.rejected:
        reasons = Counter(one.reason for one in corpus.rejected)
        counted = (f"{count:,} {reason}" for reason, count in reasons.most_common())
        warn(f"left out: {', '.join(counted)} ({done.quarantine})")
    folder = done.manifest.parent.resolve()
    if not all(recording.is_relative_to(folder) for recording in corpus.recordings):
        warn("recordings lie outside the manifest's folder: read it with --allow-outside")


def _show_pretrained(done: Pretrained) -> None:
    result, table = done.result, Table(box=None, pad_edge=False)
    without = result.get("constant_guess", {})
    columns = ("worker", "training", "validation", "constant guess", "ratio")
    for name in columns if without else columns[:2]:
        table.add_column(name, justify="left" if name == "worker" else "right", overflow="fold")
    for name, training in result["training"].items():
        if name == "loss":
            continue
        row = [name, f"{training:.3f}"]
        if name in without:  # it has values among what is held out
            found, guess = result["validation"][name], without[name]
            row += [f"{found:.3f}", f"{guess:.3f}", f"{found / guess:.2f}" if guess else ""]
        table.add_row(*row)
    out.print(table)
    speed = result["audio_seconds"] / max(result["seconds"], 1e-9)
    out.print(
        f"epoch {result['best_epoch']} of {result['epochs']} kept · "
        f"{result['parameters']:,} parameters · {clock(result['seconds'])}, "
        f"× {speed:.0f} real time"
    )
    left_out = done.config.data["left_out"]
    if left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        out.print(f"left out: {reasons} (quarantine.csv)")
    if count := len(done.skipped_batches):
        warn(f"{count} batches were not finite and were skipped; the report names them")


@contextmanager
def _stopped() -> Iterator[None]:
    """Training that was asked to stop ends the program as its signal would have."""
    from augury.learning.training import Stopped

    try:
        yield
    except Stopped as stopped:
        err.print(f"augury: {stopped}", soft_wrap=True)
        sys.exit(128 + stopped.signal)


@contextmanager
def _quarantined(folder: Path) -> Iterator[None]:
    """Where too much can't be used, quarantine.csv in the folder says what and why."""
    from augury.corpus.corpus import TooManyBad
    from augury.corpus.manifest import write_quarantine

    try:
        yield
    except TooManyBad as error:
        write_quarantine(error.rejected, folder / "quarantine.csv")
        raise


@contextmanager
def _plain_errors() -> Iterator[None]:
    """What the user can mend is one line and exit status 2; the rest keeps its traceback."""
    try:
        yield
    except (ValueError, OSError, ModuleNotFoundError, FloatingPointError) as error:
        err.print(f"augury: {error}", style="red", soft_wrap=True)
        sys.exit(2)
