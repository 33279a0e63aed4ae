"""The house of streamlake. This file is its map and imports nothing.

=============  =============================================================================================
room           what it holds
=============  =============================================================================================
settings       every setting, its environment name and default
errors         the error tree
market         pure meaning, no I/O: bars, contracts, version order, sessions, features, skill, signals
sources        where bars come from: files, bridged intraday
broker         Kafka in and out, and the in-memory twin used by fast tests
stores         MySQL, document store, model folders: one outside system per module
learning       model specs, engines, baselines, walk-forward
catalog        one schema source: data dictionary, bi_* views, Power BI text, frame contracts
alerts         rule files and the ways to send: signed webhooks, mail, chat services
servers        real servers as child processes of this machine, used when no URL is configured
flows          joins of these rooms that Dagster, the replay and the commands share: documents, training, forecasting
sidecar        processes that run beside Dagster: consumer, replay, scorer, delivery of alerts
resources      thin Dagster resources over stores
defs           Dagster only: assets, checks, sensors, schedules
definitions    assembly of the Dagster code location
commands, cli  assembly of the ``streamlake`` command
drill          faults injected into real servers and consumers, and the judge of what is left of the data
=============  =============================================================================================

A room imports only what ``.importlinter`` allows; ``make check`` holds it to that.
"""
