"""Training frames: pooled, sorted by date, complete, and only from what was known by a date."""

import dataclasses
import datetime as dt

import numpy as np
import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.learning.snapshot import content_hash
from streamlake_assets.market.frames import training_frame
from streamlake_assets.market.series import from_ordinal
from streamlake_assets.market.targets import Target
from streamlake_assets_tests.series_data import bokeh_series, random_walk, random_walks


def test_rows_are_sorted_by_session_and_instrument_without_gaps_or_duplicates() -> None:
    frame = training_frame(random_walks(150, 1), None, 63)
    keys = list(zip(frame.sessions.tolist(), frame.instrument.tolist(), strict=True))
    assert keys == sorted(set(keys))
    values = [frame.x, *(g[t][:, None] for g in (frame.y, frame.scale, frame.baseline) for t in Target)]
    assert np.isfinite(np.column_stack(values)).all()
    assert (frame.target_sessions > frame.sessions).all()
    assert len(frame) == 3 * (150 - 63)


def test_the_order_of_the_series_changes_nothing() -> None:
    series = random_walks(150, 1)
    assert content_hash(training_frame(series, None, 63)) == content_hash(training_frame(series[::-1], None, 63))


def test_until_equals_a_history_that_ends_there() -> None:
    series = random_walks(150, 2)
    until = from_ordinal(series[0].sessions[119])
    cut = [s.until(until) for s in series]
    frame = training_frame(series, until, 63)
    assert content_hash(frame) == content_hash(training_frame(cut, None, 63))
    assert frame.last_session == until


def test_the_youngest_real_instrument_is_trained_on() -> None:
    frame = training_frame(bokeh_series(), dt.date(2012, 12, 3), 63)
    code = frame.instruments.index("FB|XNYS")
    assert (frame.instrument == code).sum() == 196 - 60 - 63
    assert len(frame) == 11_539


def test_min_history_keeps_younger_instruments_out() -> None:
    young, old = random_walk(70, 1, "YOUNG"), random_walk(150, 2, "OLD")
    frame = training_frame([young, old], None, 100)
    assert {frame.instruments[i] for i in frame.instrument} == {"OLD|XNYS"}


def test_an_instrument_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        training_frame([random_walk(150, 1), random_walk(150, 2)], None, 63)


def test_nothing_to_train_on_is_said() -> None:
    with pytest.raises(UsageError, match="nothing to train on"):
        training_frame([random_walk(63, 1)], None, 63)
    with pytest.raises(UsageError, match="nothing to train on"):
        training_frame([], None, 63)


def test_unknown_features_are_refused_by_name() -> None:
    frame = training_frame([random_walk(150, 1)], None, 63)
    with pytest.raises(UsageError, match="same_bar_close"):
        frame.columns(["range_1", "same_bar_close"])


def test_the_hash_sees_every_value_and_every_name() -> None:
    frame = training_frame([random_walk(150, 1)], None, 63)
    known = content_hash(frame)
    x = frame.x.copy()
    x[-1, -1] = np.nextafter(x[-1, -1], 9)
    assert content_hash(dataclasses.replace(frame, x=x)) != known
    assert content_hash(dataclasses.replace(frame, target_sessions=frame.target_sessions + 1)) != known
    assert content_hash(dataclasses.replace(frame, instruments=("BBB|XNYS",))) != known
    assert content_hash(dataclasses.replace(frame, x=np.asfortranarray(frame.x))) == known
