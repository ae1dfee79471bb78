"""The command line that reproduces a ranking, rendered from its settings."""

from __future__ import annotations

import shlex

from augury.ranking.origin import Origin
from augury.ranking.settings import RankSettings

#: Settings that are always part of the line, even at their defaults.
ALWAYS = ("label", "candidates", "estimator")


def command_line(origin: Origin, settings: RankSettings) -> str:
    """A line of `augury rank`, with the settings that differ from the defaults.

    It ranks the whole manifest: `Corpus.select` and TIMIT's level have no option.

    >>> command_line(Origin("m.csv"), RankSettings(label="phone", candidates=("F0",)))
    'augury rank m.csv --label phone --candidates F0 --estimator robust'
    """
    default = RankSettings(label=settings.label, estimator=settings.estimator)
    words = ["augury", "rank", origin.manifest, "--label", settings.label]
    words += ["--candidates", ",".join(settings.candidates), "--estimator", settings.estimator]
    words += settings.to_options(default, without=ALWAYS)
    if origin.allow_outside:
        words.append("--allow-outside")
    return shlex.join(words)
