"""One category's trainings: loss against steps, pretraining and training on the category itself."""

from collections.abc import Sequence

from adclick.reporting.line_figures import Losses, loss_curves
from adclick.reporting.style import place_title, save
from adclick.run.artifacts import read_json
from adclick.run.job import parse_job, run
from adclick.run.plan.figures import MakeTrainingFigure

COMMAND = "adclick.commands.make_training_figure"


def main(argv: Sequence[str] | None = None) -> None:
    """A line for each training of a method; a pretraining that several share is read once."""
    job = parse_job(
        COMMAND,
        MakeTrainingFigure,
        argv,
        doc=__doc__,
        lists=["records"],
        outputs=["figure"],
    )
    settings = job.settings
    names = settings.titles
    losses = [read_json(path)["losses"] for path in job.lists["records"]]

    def phase(place: int | None) -> list[float]:
        return [] if place is None else losses[place]

    trainings = [
        Losses(one.network, one.method, phase(one.pretraining), phase(one.training))
        for one in settings.trainings
    ]
    figure = loss_curves(
        trainings,
        where=names.get(settings.category, settings.category),
        titles=names,
        title=place_title(settings.dataset, settings.category, names),
    )
    save(figure, job.outputs["figure"], stamp=job.stamp)


if __name__ == "__main__":
    run(main)
