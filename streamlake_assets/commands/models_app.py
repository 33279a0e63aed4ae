"""The command line of models: ``streamlake models list|show|promote|rollback|search``.

Belongs here: options, tables, words; ``register`` puts the commands under ``streamlake``. Stays out: what they do
(``models``), loaded only when one is called.
"""

from typing import Annotated

import typer

from streamlake_assets.commands.terminal import Json, emit, line, named, settings_in_force, table
from streamlake_assets.market.targets import Target

models = typer.Typer(
    name="models", help="Which models there are, and which speak.", no_args_is_help=True, add_completion=False
)
Version = Annotated[str, typer.Argument(help="Such as m-1a2b3c4d5e6f; `streamlake models list` shows them.")]
Why = Annotated[str, typer.Option("--why", help="Reason, kept with the decision.")]


def register(app: typer.Typer) -> None:
    """Put the commands under the main command."""
    app.add_typer(models)


@models.command("list")
def listing(
    target: Annotated[str | None, typer.Option(help="adjusted_return or log_range; default: both.")] = None,
    last: Annotated[int, typer.Option("-n", min=1, help="Newest models to show.")] = 30,
    as_json: Json = False,
) -> None:
    """List the registered models, the newest first, with their skill over the baseline."""
    from streamlake_assets.commands import models as commands

    wanted = None if target is None else named(Target, "--target", target)
    found = commands.listing(settings_in_force(), wanted, last)
    if as_json:
        emit(found)
        return
    rows = [
        (
            one["version"],
            one["target"],
            one["name"],
            one["engine"],
            "" if one["skill"] is None else f"{one['skill']:.4f} ({one['skill_low']:.4f} to {one['skill_high']:.4f})",
            "speaks" if one["champion"] else "passed" if one["passed_gate"] else "",
            one["learned_until"],
        )
        for one in found
    ]
    table("Models", ("version", "target", "name", "engine", "skill over the baseline", "gate", "learned until"), rows)


@models.command()
def show(version: Version, as_json: Json = False) -> None:
    """Show all that is known of a model: what it learned from, what it is worth, when it spoke."""
    from streamlake_assets.commands import models as commands

    found = commands.show(settings_in_force(), version)
    if as_json:
        emit(found)
        return
    for name, value in found["manifest"].items():
        line(f"{name:<22} {value}")
    line(f"{'registered_at':<22} {found['registered_at']}")
    line(f"{'champion':<22} {'yes' if found['champion'] else 'no'}")
    for reign in found["reigns"]:
        line(f"spoke since {reign['since']}: {reign['reason']}")


@models.command()
def promote(version: Version, why: Why, as_json: Json = False) -> None:
    """Let a model speak for its target from now on; only one that passed the gate, or version 0."""
    from streamlake_assets.commands import models as commands

    done = commands.promote(settings_in_force(), version, why)
    emit(done) if as_json else line(_said(done))


@models.command()
def rollback(
    target: Annotated[str, typer.Argument(help="adjusted_return or log_range.")], why: Why, as_json: Json = False
) -> None:
    """Let the model speak that spoke before; the present one is not promoted by itself again."""
    from streamlake_assets.commands import models as commands

    done = commands.rollback(settings_in_force(), named(Target, "TARGET", target), why)
    emit(done) if as_json else line(_said(done))


@models.command()
def search(
    engine: Annotated[str, typer.Argument(help="sklearn, xgboost, dask or spark.")],
    target: Annotated[str | None, typer.Option(help="adjusted_return or log_range; default: both.")] = None,
    as_json: Json = False,
) -> None:
    """Search hyper-parameters in time order, on the dates before those that models are judged on; change nothing."""
    from streamlake_assets.commands import models as commands

    wanted = None if target is None else named(Target, "--target", target)
    found = commands.search(settings_in_force(), engine, wanted)
    if as_json:
        emit(found)
        return
    for one in found["searched"]:
        rows = [
            (
                ", ".join(f"{name} {value}" for name, value in trial["changes"].items()) or "as the spec says",
                "" if trial["rmse"] is None else f"{trial['rmse']:.6f}",
                trial["reason"] if trial["skill"] is None else f"{trial['skill']:.4f}",
                str(trial["fits"]),
            )
            for trial in one["trials"]
        ]
        table(f"{one['name']} on {engine}, {one['rows']:,} rows", ("candidate", "RMSE", "skill", "fits"), rows)
        chosen = ", ".join(f"{name} {value}" for name, value in one["changes"].items()) or "the spec as it is"
        own, other = ("{:.4f} ({:.4f} to {:.4f})".format(*one[name]) for name in ("skill", "chosen_skill"))
        line(f"chosen: {chosen}; on the judged dates its skill is {other}, that of the spec as it is {own}")
    for reason in found["passed_over"]:
        line(reason)


def _said(done: dict[str, object]) -> str:
    return f"{done['target']}: {done['version']} {'speaks from now on' if done['changed'] else 'spoke already'}"
