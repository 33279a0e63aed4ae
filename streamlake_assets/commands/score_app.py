"""The command line of ``streamlake score``.

Belongs here: options and words; ``register`` puts the command under ``streamlake``. Stays out: what it does (``score``,
``sidecar.scorer``), loaded only when it is called.
"""

from typing import Annotated

import typer

from streamlake_assets.commands.terminal import Json, emit, line, progress, settings_in_force


def register(app: typer.Typer) -> None:
    """Put the command under the main command."""
    app.command()(score)


def score(
    once: Annotated[bool, typer.Option("--once", help="Catch up with the topics, then end.")] = False,
    as_json: Json = False,
) -> None:
    """Run the scorer alone, in the foreground: forecasts of each next session into the ledger, until Ctrl-C.

    It follows the topics, applies the champions before a session is revealed,
    scores what settled, and copies the ledger to the topic `forecasts`.
    With `--once`, `--json` prints what was done.
    """
    settings = settings_in_force()
    if not once:
        from streamlake_assets.sidecar.scorer import main as run_scorer

        raise typer.Exit(run_scorer())
    from streamlake_assets.commands.score import score_once

    done = score_once(settings, progress())
    if as_json:
        emit(done)
        return
    found = f"{done['issued']} forecasts issued ({done['late']} late), {done['existing']} were there"
    line(f"{found}, {done['scored']} scored")
    line(f"{done['sent']} messages sent; champions: {done['champions'] or 'none yet: train first'}")
    for why in [*done["refused"].values(), *done["passed_over"]]:
        line(f"  {why}")
