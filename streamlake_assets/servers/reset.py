"""Starting over: deleting the data folder, and nothing else.

Belongs here: the deletion and its guards. Stays out: asking the user (``cli``). The cache of downloads stays.
"""

import shutil

from streamlake_assets.errors import UsageError
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.process import end_orphans
from streamlake_assets.servers.state import SupervisorLock
from streamlake_assets.settings import Settings


def reset_home(settings: Settings) -> bool:
    """Delete the data folder; return False when there is none.

    Its marker goes last, so that an interrupted reset can be repeated.

    Raises:
        UsageError: the folder does not carry our marker file.
        AlreadyRunningError: a supervisor runs in it.
    """
    home = Home.of(settings)
    if not home.root.exists():
        return False
    if not home.marker.is_file():
        raise UsageError(f"{home.root} is no data folder of streamlake (no {home.marker.name} in it): nothing deleted")
    home.create()
    lock = SupervisorLock(home)
    lock.take()
    try:
        end_orphans(home)
        for entry in home.root.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != home.marker:
                entry.unlink()
        home.marker.unlink()
        home.root.rmdir()
    finally:
        lock.free()
    return True
