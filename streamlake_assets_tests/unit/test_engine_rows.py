"""Rows that cannot be learned from are named; whatever can be is let through, however large its sum."""

import numpy as np
import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.learning.engines import check_rows
from streamlake_assets.learning.spec import linear_spec
from streamlake_assets.market.targets import Target

SPEC = linear_spec(Target.LOG_RANGE, "sklearn")


def test_finite_values_whose_sum_is_not_are_rows_like_others() -> None:
    x = np.full((100, len(SPEC.features)), 1e308)
    y = np.linspace(-1, 1, 100) * 1e308
    with np.errstate(over="ignore"):
        assert np.isinf(x.sum())
    check_rows(SPEC, x, y)


@pytest.mark.parametrize(("first", "second"), [(np.inf, -np.inf), (np.nan, 0.0), (np.inf, 0.0)])
def test_values_that_are_not_finite_are_named_also_where_they_cancel_out(first: float, second: float) -> None:
    x, y = np.ones((100, len(SPEC.features))), np.linspace(-1, 1, 100)
    x[3, 1], x[4, 1] = first, second
    with pytest.raises(UsageError, match=f"NaN or infinity in {SPEC.features[1]}$"):
        check_rows(SPEC, x, y)
    y[3], y[4] = first, second
    with pytest.raises(UsageError, match="NaN or infinity in the target"):
        check_rows(SPEC, np.ones_like(x), y)
