"""What the modules of this folder share: one Chromium, a broker and a page of each module's own.

A module gives the fixture ``settings``: the stores its page looks at, with what is in them.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from benchmarks.sockets import Pages
from benchmarks.viewing import chromium
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.process import ChildRegistry
from streamlake_assets.settings import Settings
from streamlake_assets_tests.browser.viewing import Opener, serve_page, viewers
from streamlake_assets_tests.conftest import print_line, settings_in


@pytest.fixture(scope="module")
def broker_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_in(tmp_path_factory.mktemp("broker"))


@pytest.fixture(scope="module")
def broker(broker_settings: Settings) -> Iterator[LocalKafka]:
    """A broker of the module's own: what is on it is known, and a test may stop it."""
    server = LocalKafka(broker_settings, ChildRegistry(Home.of(broker_settings).create()))
    server.prepare(print_line)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def address(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page's server process listens."""
    with serve_page(settings, tmp_path_factory.mktemp("page") / "page.log") as here:
        yield here


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def pages(address: str) -> Iterator[Pages]:
    """Opens pages without a browser; at the end they are closed."""
    found = Pages(address)
    yield found
    found.end()


@pytest.fixture
def viewer(browser: Browser, address: str) -> Iterator[Opener]:
    """Opens pages; at the end none of them may have had an error or asked another host."""
    with viewers(browser, address) as open_page:
        yield open_page
