"""Entry of the page: ``panel serve panel_app/app.py`` runs this file once for each session.

Belongs here: joining the shared data store and a new page. Stays out: everything else, because it would run again for
every viewer.
"""

import panel as pn

from panel_app.feeds import start_data_store
from panel_app.shell import make_page
from streamlake_assets.settings import load_settings

store = pn.state.as_cached("streamlake_data_store", lambda: start_data_store(load_settings()))
make_page(store, pn.state.session_args).servable()
