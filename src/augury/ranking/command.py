"""The command line that gives a ranking again, rendered from its settings."""

from __future__ import annotations

import shlex

from augury.ranking.origin import Origin
from augury.ranking.settings import RankSettings


def command_line(origin: Origin, settings: RankSettings) -> str:
    """A line of `augury rank`: what differs from the defaults, and what is always worth saying.

    It names the whole manifest: segments kept by `Corpus.select` and TIMIT's level have no option.

    >>> command_line(Origin("m.csv"), RankSettings(label="phone", candidates=("F0",)))
    'augury rank m.csv --label phone --candidates F0 --estimator robust'
    """
    default = RankSettings(label=settings.label, estimator=settings.estimator)
    words = ["augury", "rank", origin.manifest, "--label", settings.label]
    words += ["--candidates", ",".join(settings.candidates), "--estimator", settings.estimator]
    for name in ("embedding", "parts", "downsampling_width", "kernel_width", "unvoiced", "split"):
        if (value := getattr(settings, name)) != getattr(default, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    for name in settings.exclude:
        words += ["--exclude", name]
    if settings.max_bad != default.max_bad:
        words += ["--max-bad", str(settings.max_bad)]
    for name in ("tolerance", "bootstrap", "group", "permutations", "seed"):
        if (value := getattr(settings, name)) != getattr(default, name):
            words += [f"--{name}", str(value)]
    if not settings.sensitivity:
        words.append("--no-sensitivity")
    if origin.allow_outside:
        words.append("--allow-outside")
    return shlex.join(words)
