"""The command line that gives a ranking again, rendered from its settings."""

from __future__ import annotations

import shlex

from augury.ranking.origin import Origin
from augury.ranking.settings import RankSettings

#: What the line always says, whether or not it is the default.
ALWAYS = ("label", "candidates", "estimator")


def command_line(origin: Origin, settings: RankSettings) -> str:
    """A line of `augury rank`: what differs from the defaults, and what is always worth saying.

    It names the whole manifest: segments kept by `Corpus.select` and TIMIT's level have no option.

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
