"""Complexity is counted: on a module whose counts are known by hand, and on the engines as they are."""

from pathlib import Path

import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.learning import complexity
from streamlake_assets.learning.complexity import dependencies, engine_complexity, library_use, lines_of_code

MODULE = '''"""A module
of two lines of text."""

import json  # not the library
import sklearn
from sklearn.linear_model import LinearRegression as Line

LIMIT = 3
"""What it means."""


def fit(x, y):
    """Fit."""
    # a comment
    text = """two
lines"""
    settings = {"spark.driver.memory": "1g", "not.one": text}
    model = Line(
        fit_intercept=True,
        positive=False,
    )
    sklearn.set_config(assume_finite=json.loads("true"))
    return model.fit(x, y), settings
'''


def test_lines_of_code_leave_out_what_does_nothing() -> None:
    """Three imports, one constant, the head, two lines of text, settings, four of the model, two more."""
    assert lines_of_code(MODULE) == 3 + 1 + 1 + 2 + 1 + 4 + 2
    assert lines_of_code('"""Only text."""\n\n# and a comment\n') == 0


def test_concepts_and_settings_are_those_of_the_library_only() -> None:
    concepts, settings = library_use(MODULE, {"sklearn"})
    assert concepts == {"sklearn", "sklearn.linear_model.LinearRegression", "sklearn.set_config"}
    assert settings == {
        "sklearn.linear_model.LinearRegression(fit_intercept)",
        "sklearn.linear_model.LinearRegression(positive)",
        "sklearn.set_config(assume_finite)",
        "spark.driver.memory",
    }


def test_a_setting_in_a_chain_of_calls_or_in_a_dictionary_counts() -> None:
    text = (
        "from lib import builder, train\nbuilder.name('a').config(key=1).start()\ntrain({'depth': 3, 'eta': 0.1}, 5)\n"
    )
    _, settings = library_use(text, {"lib"})
    assert settings == {"lib.builder.name.config(key)", "lib.train(depth)", "lib.train(eta)"}


def test_dependencies_follow_the_installed_metadata() -> None:
    direct, every, missing = dependencies(("scikit-learn", "no-such-package-here"))
    assert missing == ("no-such-package-here",)
    assert {"scikit-learn", "numpy", "scipy", "joblib"} <= set(direct) <= set(every)
    assert "pytest" not in every, "extras are not counted"
    assert dependencies(()) == ((), (), ())


@pytest.mark.parametrize("engine", complexity.LIBRARIES)
def test_every_engine_can_be_counted(engine: str) -> None:
    found = engine_complexity(engine)
    assert found.lines > 50
    assert found.settings
    assert all(name.split(".")[0] in complexity.LIBRARIES[engine] for name in found.concepts)
    assert found.missing == ()
    assert set(found.direct) <= set(found.transitive)


def test_what_an_engine_borrows_from_another_is_named(tmp_path: Path) -> None:
    (tmp_path / "dask_engine.py").write_text(
        "import dask\ndef f():\n    from streamlake_assets.learning.sklearn_engine import one\n    dask.compute(one)\n"
    )
    (tmp_path / "dask_more.py").write_text("LIMIT = 1\n")
    found = engine_complexity("dask", tmp_path)
    assert found.borrows == ("sklearn_engine.py",)
    assert found.modules == ("dask_engine.py", "dask_more.py")
    assert found.lines == 5, "four of the one, one of the other"


def test_an_unknown_engine_or_one_without_a_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no libraries"):
        engine_complexity("abacus")
    with pytest.raises(UsageError, match="no module"):
        engine_complexity("spark", tmp_path)
