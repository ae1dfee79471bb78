"""Where numbers came from: versions of the packages that computed them."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, of what every number depends on, and of further packages, by name.

    >>> list(versions("torch"))
    ['python', 'augury', 'numpy', 'scipy', 'soundfile', 'soxr', 'torch']
    """
    names = ("augury", "numpy", "scipy", "soundfile", "soxr", *packages)
    return {"python": platform.python_version()} | {name: _version(name) for name in names}


@cache
def _version(package: str) -> str:
    return metadata.version(package)
