import importlib
import os
import sys

import pytest

from augury.errors import InputError
from augury.pseudolabels import function_version, parse_candidate
from augury.store import digest


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a user's modules and return the version of `NAME:f`, imported anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = set()

    def version(name="labels", **files):
        for file, text in files.items():
            path = tmp_path / (file.replace("__", "/") + ".py")
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(text)
            os.utime(path, ns=(len(names), len(names)))  # a second may not pass between edits
            names.add(len(names))
        for known in [known for known in sys.modules if known.partition(".")[0] in USERS]:
            del sys.modules[known]
        importlib.invalidate_caches()
        return function_version(parse_candidate(f"{name}:f"))

    yield version
    for known in [known for known in sys.modules if known.partition(".")[0] in USERS]:
        del sys.modules[known]


USERS = ("labels", "helper", "deeper", "package", "unrelated")
F = "def f(signal, rate):\n    return signal\n"


def test_a_function_alone_has_the_version_of_its_file(module):
    text = f"import os\nimport numpy as np\nfrom augury import audio\n{F}"
    assert module(labels=text, helper="x = 1\n") == digest(text.encode())[:16]


@pytest.mark.parametrize(
    "statement",
    ["import helper\n", "from helper import x\n", "def g():\n    from helper import x\n"],
)
def test_an_edit_of_an_imported_module_is_seen(module, statement):
    first = module(labels=statement + F, helper="import deeper\nx = 1\n", deeper="y = 1\n")
    assert module() == first
    assert module(unrelated="x = 1\n") == first
    changed = module(helper="import deeper\nx = 2\n")
    assert changed != first
    assert module(deeper="y = 2\n") not in (first, changed)


def test_modules_of_a_package_are_followed(module):
    first = module(
        "package.labels",
        package__labels="from . import helper\nfrom .sub.deeper import y\n" + F,
        package__helper="x = 1\n", package__sub__deeper="y = 1\n", package____init__="",
    )  # fmt: skip
    changed = module("package.labels", package__helper="x = 2\n")
    assert changed != first
    assert module("package.labels", package__sub__deeper="y = 2\n") not in (first, changed)


def test_circles_of_imports_end(module):
    first = module(labels="import helper\n" + F, helper="import labels\nx = 1\n")
    assert module(helper="import labels\nx = 2\n") != first


def test_declared_files_count_by_their_content(module, tmp_path):
    (tmp_path / "units.km").write_text("1 2\n")
    for text in (f"depends_on = ['units.km']\n{F}", f"{F}f.depends_on = ('units.km',)\n"):
        first = module(labels=text)
        assert first != digest(text.encode())[:16]
        (tmp_path / "units.km").write_text("1 3\n")
        assert module() != first
        (tmp_path / "units.km").write_text("1 2\n")
        assert module() == first
    with pytest.raises(InputError, match=r"labels:f: depends_on names none\.km, but there is no"):
        module(labels=f"depends_on = ['none.km']\n{F}")
    with pytest.raises(InputError, match=r"depends_on is 'units\.km', but must be a list"):
        module(labels=f"depends_on = 'units.km'\n{F}")
