"""Scaling charts: laws are straight lines, names do not collide, what has no logarithm is refused."""

import itertools
import math
import re

import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.flows.svg_scaling import HEIGHT, Mark, Series, scaling_chart

SIZES = (10_000, 100_000, 300_000, 1_000_000)


def points(svg: str) -> list[list[tuple[float, float]]]:
    lines = re.findall(r"<polyline points='([^']+)'", svg)
    return [[(float(a), float(b)) for a, b in (pair.split(",") for pair in line.split())] for line in lines]


def test_a_cost_proportional_to_rows_is_a_straight_line_and_a_constant_one_is_level() -> None:
    svg = scaling_chart(
        "t", [Series("a", {n: 1e-4 * n for n in SIZES}), Series("b", dict.fromkeys(SIZES, 10.0))], unit="s"
    )
    rising, level = points(svg)
    slopes = [(b - a_y) / (x - a_x) for (a_x, a_y), (x, b) in itertools.pairwise(rising)]
    assert slopes == pytest.approx([slopes[0]] * 3, rel=0.01)
    assert slopes[0] < 0, "up on the page is a smaller y"
    assert len({y for _, y in level}) == 1


def test_a_mark_lies_where_the_lines_meet() -> None:
    series = [Series("a", {n: 1e-4 * n for n in SIZES}), Series("b", dict.fromkeys(SIZES, 10.0))]
    svg = scaling_chart("t", series, unit="s", marks=[Mark(100_000, 10.0, "100,000 rows")])
    assert "100,000 rows" in svg
    (mark,) = re.findall(r"<circle cx='([\d.]+)' cy='([\d.]+)' r='6'", svg)
    assert (float(mark[0]), float(mark[1])) == pytest.approx(points(svg)[0][1], abs=0.2)


def test_names_of_lines_that_end_together_are_moved_apart_and_stay_inside() -> None:
    svg = scaling_chart("t", [Series(f"way {i}", {10: 1.0, 100: 1.0 + i / 1e6}) for i in range(6)], unit="s")
    heights = sorted(float(y) for y in re.findall(r"y='([\d.]+)' [^>]*>way \d", svg))
    assert len(heights) == 6
    assert min(b - a for a, b in itertools.pairwise(heights)) >= 15
    assert max(heights) < HEIGHT - 40


def test_text_is_escaped_and_a_line_without_points_is_left_out() -> None:
    svg = scaling_chart("a < b", [Series("<script>", {1: 1.0, 10: 2.0}), Series("none", {})], unit="s")
    assert "<script>" not in svg
    assert "a &lt; b" in svg
    assert "none " not in svg


@pytest.mark.parametrize("bad", [0.0, math.inf, math.nan, -1.0])
def test_what_has_no_logarithm_is_refused(bad: float) -> None:
    with pytest.raises(UsageError, match="logarithmic"):
        scaling_chart("t", [Series("a", {10: 1.0, 100: bad})], unit="s")


@pytest.mark.parametrize("count", [0, 7])
def test_a_chart_has_one_to_six_lines(count: int) -> None:
    with pytest.raises(UsageError, match="1 to 6 lines"):
        scaling_chart("t", [Series(str(i), {10: 1.0}) for i in range(count)], unit="s")
