"""The providers themselves, with a key of the one who runs this: shapes and coverage as the fake has them."""

import datetime as dt
import os

import pytest

from streamlake_assets.commands.fetch import Wanted, fetch
from streamlake_assets.market.types import AssetClass, Instrument, Interval
from streamlake_assets.sources.http_json import JsonApi

pytestmark = pytest.mark.live
AAPL = Instrument("AAPL", "XNAS")
ADDRESSES = {"massive": "https://api.massive.com", "alpha-vantage": "https://www.alphavantage.co"}


class OneByOne:
    """No more than a handful of calls is made here."""

    def take(self) -> float:
        return 0.0


@pytest.mark.parametrize("provider", ADDRESSES)
def test_two_weeks_of_daily_bars(provider: str) -> None:
    setting = f"STREAMLAKE_{provider.replace('-', '_').upper()}_KEY"
    key = os.environ.get(setting, "")
    if not key:
        pytest.skip(f"{setting} is not set: {provider} is not asked")
    today = dt.datetime.now(dt.UTC).date()
    wanted = Wanted(["AAPL"], "XNAS", AssetClass.STOCK, Interval.D1, today - dt.timedelta(days=21), today)
    with JsonApi(
        provider, ADDRESSES[provider], key, OneByOne(), key_setting=setting, bearer=provider == "massive"
    ) as api:
        found = fetch(api, AAPL, wanted)
    assert len(found.bars) >= 10
    assert not found.rejected
