"""The scorer's ways to the tables, the ledger, the register of models and the topic ``forecasts``.

Belongs here: the real side of the loop's protocols. Stays out: the loop (``score_loop``), process matters (``scorer``).
"""

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.tail import TailReader
from streamlake_assets.broker.topics import FORECASTS_TOPIC
from streamlake_assets.errors import StreamlakeError
from streamlake_assets.flows import champions, forecasting
from streamlake_assets.learning.serve import load_model
from streamlake_assets.market.forecasts import Forecast
from streamlake_assets.market.series import SessionSeries
from streamlake_assets.market.types import Instrument
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.sidecar.forecast_topic import ForecastTopic, sent_messages
from streamlake_assets.sidecar.serving_champions import ServingChampions
from streamlake_assets.stores import ledger, ledger_feed, model_register, session_seed
from streamlake_assets.stores.forecast_watch import ForecastWatch
from streamlake_assets.stores.ledger import Issued, SessionKey
from streamlake_assets.stores.model_folder import ModelFolder
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets.stores.session_seed import Seed, StreamPlace

DELIVERY_S: Final = 5.0
"""How long the broker may take for a message: nothing else is done meanwhile."""


class ScorerBook:
    """``score_loop.Book`` on MySQL and Kafka; use as a context manager."""

    def __init__(self, settings: Settings) -> None:
        self._bootstrap = settings.kafka
        self.engine = make_engine(settings, DatabaseRole.WRITER)
        self._models = ModelFolder(settings.data_dir / "models")
        self._topic: ForecastTopic | None = None
        self._publisher: Publisher | None = None
        self._watch = ForecastWatch()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)
        self.engine.dispose()

    def champions(self) -> ServingChampions:
        """Return the champions that the register names, looked at now and then."""
        return ServingChampions(
            named=lambda: model_register.champions(self.engine),
            opened=lambda version: load_model(self._models.manifest(version), self._models.open(version)),
            successor=lambda target: champions.champion_of(self.engine, self._models, target).model,
        )

    def seed(self, keep: int) -> Seed:
        """Return where to begin."""
        return session_seed.read_seed(self.engine, keep)

    def places(self) -> dict[StreamPlace, int]:
        """Return how far every place of every stream is in the tables."""
        return session_seed.stream_places(self.engine)

    def instruments(self) -> set[Instrument]:
        """Return the instruments that the tables know."""
        return session_seed.stored_instruments(self.engine)

    def issue(self, forecasts: Sequence[Forecast]) -> Issued:
        """Commit forecasts to the ledger, all or none; it marks those that come too late."""
        issued = ledger.issue(self.engine, forecasts)
        self._watch(self.engine, forecasts)
        return issued

    def score(self, series: Sequence[SessionSeries], settled: Collection[SessionKey] | None) -> int:
        """Score what is due, of some sessions or of all; return how many."""
        return forecasting.score_due(self.engine, series, settled)

    def publish(self, scores: bool) -> int:
        """Send what the topic lacks of the ledger; return how many messages.

        Args:
            scores: look for scores of forecasts sent before, too.

        Raises:
            TryLaterError: ledger or broker are away.
        """
        if self._topic is None:
            tail = TailReader(self._bootstrap, FORECASTS_TOPIC)
            try:
                sent = set(sent_messages(tail))
            finally:
                tail.close()
            self._topic = ForecastTopic(
                lambda after, most: ledger_feed.entries(self.engine, after, most),
                lambda ids: ledger_feed.scores(self.engine, ids),
                sent,
            )
        if self._publisher is None:
            self._publisher = self._open.enter_context(Publisher(self._bootstrap, DELIVERY_S))
        try:
            return self._topic.publish(self._publisher, scores)
        except StreamlakeError as error:
            # a client that gave up a message may refuse all later ones
            self._publisher = None
            self._open.__exit__(type(error), error, error.__traceback__)
            raise
