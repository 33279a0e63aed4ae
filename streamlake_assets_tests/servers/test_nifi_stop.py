"""The end of the NiFi that the tests before share."""

import pytest

from streamlake_assets.servers.nifi import LocalNifi
from streamlake_assets.servers.process import HOME_VARIABLE, NAME_VARIABLE, marked_processes
from streamlake_assets.settings import Settings


@pytest.mark.servers
def test_a_stop_leaves_no_process(test_settings: Settings, nifi: LocalNifi) -> None:
    nifi.stop()
    mine = {HOME_VARIABLE: str(test_settings.data_dir), NAME_VARIABLE: "nifi"}
    assert not [pid for pid, environment in marked_processes() if mine.items() <= environment.items()]
