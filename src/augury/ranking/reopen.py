"""The segments of a ranking as arrays again, from the store; refused where they have changed."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from augury.errors import InputError
from augury.ranking.dataset import Dataset, open_dataset, select_segments
from augury.ranking.result import Ranking
from augury.reporter import Reporter


@contextmanager
def reopen(
    ranking: Ranking,
    names: Sequence[str],
    *,
    which: Sequence[int] = (0,),
    manifest: Path | str | None = None,
    store: Path | str | None = None,
    jobs: int | None = None,
    reporter: Reporter | None = None,
) -> Generator[Dataset]:
    """The segments that were ranked, with the values of some candidates.

    Args:
        names: the candidates.
        which: (0,) to load the embeddings, too; (): none.
        manifest: where it is now; the path that was ranked if not given.
        store, jobs, reporter: as for `rank`; what is in the store is not extracted again.

    Raises:
        InputError: the manifest does not exist, or its content has changed since the ranking.
    """
    corpus = ranking.origin.read(manifest)
    settings = replace(ranking.settings, candidates=tuple(names), sensitivity=False)
    with open_dataset(
        select_segments(corpus, settings), settings, embeddings=(settings.base_embedding(),),
        which=which, store=store, jobs=jobs, reporter=reporter,
    ) as data:  # fmt: skip
        _check_inputs(ranking, data.inputs(settings.label), manifest or ranking.origin.manifest)
        yield data


def _check_inputs(ranking: Ranking, inputs: Mapping[str, str], manifest: Path | str) -> None:
    """Raise InputError where digests differ from those of the ranking."""
    changed = [name for name, value in inputs.items() if value != ranking.inputs.get(name)]
    files = [name.removeprefix("file:") for name in changed if name.startswith("file:")]
    if files:
        raise InputError(
            f"{' and '.join(files)}: not what was ranked, the content differs; put the old one "
            "back, or rank again"
        )
    if changed:
        raise InputError(
            f"{manifest} is not what was ranked: the {' and the '.join(changed)} differ; rank it "
            "again (a corpus that was changed in Python must be written to a manifest first)"
        )
