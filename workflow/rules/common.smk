import inspect
import shlex
import sys
from pathlib import Path

from adclick.language import needs
from adclick.run import plan
from adclick.run.config import load_config
from adclick.run.errors import InputError
from adclick.run.plan import checks, names, order, stages
from adclick.run.provenance import fingerprint
from adclick.run.settings.tables import TABLES as TABLE_NUMBERS

try:
    CONFIG = load_config(config)
    checks.check(CONFIG)
except InputError as error:
    # The configuration and the files that it names are those of the working directory.
    if "CONFIGURED" in globals() or Path("config/config.yaml").is_file():
        print(f"error: {error}", file=sys.stderr)
    else:
        print(
            f"error: {Path.cwd()} has no config/config.yaml: run snakemake in the repository, or copy"
            " its folder `config` there and change what you like",
            file=sys.stderr,
        )
    raise SystemExit(2)

# Jobs run the interpreter that runs Snakemake, also when its environment is not activated. The data
# root is no parameter of a rule: data may move without making a result stale. Threads are those of the
# configuration whatever `--cores` says, so that results do not depend on the machine.
shell.prefix(
    (
        f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
        f" ADCLICK_DATA_ROOT={shlex.quote(CONFIG.data_root)}"
        f" OMP_NUM_THREADS={CONFIG.compute_threads} MKL_NUM_THREADS={CONFIG.compute_threads}"
        f" OPENBLAS_NUM_THREADS={CONFIG.compute_threads}"
        f" ADCLICK_SPARE_DISK={CONFIG.spare_disk}; "
    )
    .replace("{", "{{")
    .replace("}", "}}")
)

# What a computing job asks for here; profiles/slurm says it for cluster jobs.
GPUS = checks.local_gpus()


def passing(path):
    """A result that can be made again: with `spare_disk` it goes when nothing more reads it."""
    return temp(path) if CONFIG.spare_disk else path


def passing_at_last(path):
    """One without which networks cannot be used or trained again: it goes with `spare_disk: all`."""
    return temp(path) if CONFIG.spare_disk == "all" else path


def in_turn(rule):
    """A function of wildcards that says how early a job of a rule comes, so that disk is spared."""

    def priority_of(wildcards):
        return order.priority(CONFIG, rule, dict(wildcards.items()))

    return priority_of


LABELS = names.one_of(names.label_names(CONFIG))
DRAWN = rf"simulated|lines|expanded_({LABELS})_seed\d+"


wildcard_constraints:
    run=names.one_of([CONFIG.run]),
    dataset=names.one_of(CONFIG.datasets),
    category=names.one_of(
        [name for dataset in CONFIG.datasets.values() for name in dataset.categories]
    ),
    variant=r"[A-Za-z0-9_.\-]+",
    method=r"[A-Za-z0-9_.\-]+",
    pretraining=r"(language|plain)[a-z_]*",
    matching=names.one_of(CONFIG.matchings),
    robot=names.one_of(CONFIG.run_robots) or "none",
    labels=LABELS,
    source=f"real|{DRAWN}",
    seed=r"\d+",
    number=names.one_of(str(number) for number in TABLE_NUMBERS),


def settings(stage):
    """A function of wildcards that gives a stage's settings as JSON."""

    def settings_of(wildcards):
        return stages.settings_json(CONFIG, stage, **wildcards)

    return settings_of


def planned(function):
    """A function of wildcards that calls one of the plan with what its arguments are named after: the
    configuration, wildcards, and `place`, which is `data set/category`.
    """
    wanted = inspect.signature(function).parameters

    def of_wildcards(wildcards):
        known = {**dict(wildcards.items()), "config": CONFIG}
        if "place" in wanted:
            known["place"] = place(wildcards)
        return function(**{name: known[name] for name in wanted})

    return of_wildcards


def flags(*names):
    """A function that gives the command-line flags of those inputs that a job has."""

    def flags_of(wildcards, input):
        given = {name: input.get(name) for name in names if input.get(name)}
        values = {
            name: [paths] if isinstance(paths, str) else list(paths)
            for name, paths in given.items()
        }
        return " ".join(
            f"--{name.replace('_', '-')} {' '.join(shlex.quote(str(path)) for path in paths)}"
            for name, paths in values.items()
        )

    return flags_of


def require_inputs():
    """Ends a run (not a plan) before it starts when data or weights that it needs are not there."""
    jobs = list(workflow.dag.needrun_jobs())
    unread = [place(job.wildcards) for job in jobs if job.rule.name == "make_manifest"]
    missing = plan.data.missing_data(CONFIG, unread)
    if missing:
        refuse(
            f"no data at {', '.join(missing)}: download the data sets (MVTec AD from mvtec.com, KolektorSDD2"
            " from vicos.si), or put your own pictures there (docs/own_product.md), and give their folder"
            " with --config data_root=...; `make demo` needs no data"
        )
    missing = plan.peers.missing_peers(CONFIG) | plan.peers.missing_learners(CONFIG)
    for said in missing.values():
        print(said, file=sys.stderr)
    for job in jobs:
        if job.rule.name == "generate_prompts":
            try:
                needs.check_words(CONFIG, job.wildcards.dataset)
            except InputError as error:
                refuse(error)
    unlabelled = [place(job.wildcards) for job in jobs if job.rule.name == "collect_labels"]
    lacking = plan.clicks.missing_labels(CONFIG, unlabelled)
    if lacking:
        refuse(lacking)
    if checks.missing_weights(CONFIG) and any("train_adclick" in job.rule.name for job in jobs):
        refuse(
            "vision_language.weights: the frozen language-vision Swin needs pretrained weights; give a"
            " safetensors file, or train the whole branch with vision_language.trainable: all"
        )


def tell_warnings():
    """Says at the end of a run what its data give reason to doubt."""
    for line in plan.data.data_warnings(CONFIG):
        print(f"warning: {line}", file=sys.stderr)


def refuse(message):
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def place(wildcards):
    return f"{wildcards.dataset}/{wildcards.category}"


TRAINING_FILES = flags(
    "initial",
    "manifests",
    "images",
    "residuals",
    "simulated_images",
    "simulated_residuals",
    "line_images",
    "line_residuals",
    "languages",
    "masks",
    "branch",
    "expanded_images",
    "expanded_residuals",
)


def table_file(number):
    """A function that gives a table's file, or ends a run that asks for a table which it does not make."""

    def file_of(wildcards):
        if not CONFIG.tables.get(number):
            refuse(f"table {number}: this run makes none; name its data sets under tables.{number}")
        return plan.tables.table_file(CONFIG, number)

    return file_of


def robot_table(wildcards):
    """The table of honest clicks, or the end of a run that asks for it and makes none."""
    made = plan.tables.robot_table(CONFIG)
    if not made:
        refuse(
            "honest_clicks: this run makes no such table; name users under run_robots, methods that are run"
            " under robot_methods, and data sets under tables.1"
        )
    return made


def figure_labels(figure, method="all"):
    names = {"data set": "{dataset}", "category": "{category}"}
    return names | {"figure": figure, "method": CONFIG.titles.get(method, method)}
