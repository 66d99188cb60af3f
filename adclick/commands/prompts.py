"""`adclick prompts`: ask a language model for phrases, then choose which enter the prompt bank.

Options and help are here, the code is imported when it is run.
"""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Phrases that describe defects: ask a language model, then choose.",
)


@app.command()
def generate(
    places: Annotated[
        list[str] | None,
        typer.Argument(metavar="CATEGORY/TYPE", help="or CATEGORY: what it lacks"),
    ] = None,
    *,
    bank: Annotated[Path, typer.Option(metavar="FILE", help="the prompt bank")],
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="write the proposals here (YAML)")
    ] = Path("proposals.yaml"),
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="ask about this data set's types on disk")
    ] = None,
    called: Annotated[
        str | None, typer.Option(metavar="WORDS", help="the object's name, if not its category's")
    ] = None,
    configfile: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="laid over config/config.yaml; may be repeated"),
    ] = None,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="the endpoint")] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="the model there")] = None,
    temperature: Annotated[float | None, typer.Option(help="sampling temperature")] = None,
    seed: Annotated[int | None, typer.Option(help="seed sent along")] = None,
    key_variable: Annotated[
        str | None, typer.Option(metavar="NAME", help="environment variable that holds the key")
    ] = None,
    requested: Annotated[int | None, typer.Option(help="phrases asked for a type")] = None,
    phrases: Annotated[int | None, typer.Option(help="phrases that a type needs")] = None,
    timeout: Annotated[float, typer.Option(help="seconds to wait for an answer")] = 180.0,
) -> None:
    """Ask a language model for phrases that a bank lacks, and write them as proposals.

    Without a place, every type of the bank (or of --dataset) that has too few phrases is asked
    about. Settings are those of the configuration's section `prompts`, unless an option says
    otherwise. Every answer is kept, so a rerun costs nothing and an interrupted run goes on.

    \b
    Examples:
      adclick prompts generate bottle/crack bottle/good --bank config/prompts/mine.yaml
      adclick prompts generate --dataset mine --bank config/prompts/mine.yaml --configfile my.yaml
      adclick prompts generate plate7/crack --called "brake plate" --bank mine.yaml \\
        --base-url http://localhost:8000/v1 --model qwen3
    """
    from adclick.commands.propose_phrases import propose

    options = {
        "base_url": base_url,
        "model": model,
        "temperature": temperature,
        "seed": seed,
        "key_variable": key_variable,
        "requested": requested,
        "phrases": phrases,
    }
    propose(
        places or [],
        bank=bank,
        output=output,
        dataset=dataset,
        called=called,
        overlays=configfile or [],
        changes={name: value for name, value in options.items() if value is not None},
        timeout_s=timeout,
    )


@app.command()
def curate(
    proposals: Annotated[Path, typer.Argument(metavar="FILE", help="what `generate` wrote")],
    *,
    bank: Annotated[Path, typer.Option(metavar="FILE", help="the prompt bank to add to")],
    accept: Annotated[
        bool, typer.Option("--accept", help="ask nothing: take all that is not struck in FILE")
    ] = False,
) -> None:
    """Show proposed phrases type by type, strike some, and add the others to the bank.

    Suspicious phrases are marked, with the reason. What you strike is noted in the proposals, so
    you may stop after any type and go on later. Or edit the proposals (delete lines, reword, or add
    `strike: true`) and give --accept. Nothing else in the bank changes, and each new line in it
    says where it comes from.

    \b
    Examples:
      adclick prompts curate proposals.yaml --bank config/prompts/mine.yaml
      adclick prompts curate proposals.yaml --bank config/prompts/mine.yaml --accept
    """
    from adclick.commands.curate_phrases import choose_phrases

    choose_phrases(proposals, bank=bank, accept=accept)
