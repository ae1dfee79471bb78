from __future__ import annotations

import pytest

from augury.corpus.read import read_corpus
from manifests import manifest


@pytest.fixture
def three(tones):
    """Segments of b, a and b again, so that recordings' order isn't the alphabet's."""
    text = "path,start,end,phone,speaker\nb.wav,0,0.5,aa,s1\na.wav,,,iy,s2\nb.wav,0.5,,aa,\n"
    return read_corpus(manifest(tones, text))
