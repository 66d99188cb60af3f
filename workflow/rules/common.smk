import shlex
import sys
from pathlib import Path

from adclick import plan
from adclick.config import load_config
from adclick.errors import InputError
from adclick.provenance import fingerprint

try:
    CONFIG = load_config(config)
    plan.check(CONFIG)
except InputError as error:
    # The configuration and the files that it names are those of the working directory.
    if Path("config/config.yaml").is_file():
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
        f" OPENBLAS_NUM_THREADS={CONFIG.compute_threads}; "
    )
    .replace("{", "{{")
    .replace("}", "}}")
)

# What a computing job asks for here; profiles/slurm says it for cluster jobs.
GPUS = plan.local_gpus()
LABELS = plan.one_of(plan.label_names(CONFIG))


wildcard_constraints:
    run=plan.one_of([CONFIG.run]),
    dataset=plan.one_of(CONFIG.datasets),
    category=plan.one_of(
        [name for dataset in CONFIG.datasets.values() for name in dataset.categories]
    ),
    variant=r"[A-Za-z0-9_.\-]+",
    method=r"[A-Za-z0-9_.\-]+",
    pretraining=r"(language|plain)[a-z_]*",
    matching=plan.one_of(CONFIG.matchings),
    robot=plan.one_of(CONFIG.run_robots) or "none",
    labels=LABELS,
    source=rf"real|simulated|expanded_({LABELS})_seed\d+",
    seed=r"\d+",
    number="[1-8]",


def settings(stage):
    """A function of wildcards that gives a stage's settings as JSON."""

    def settings_of(wildcards):
        return plan.settings_json(CONFIG, stage, **wildcards)

    return settings_of


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
    missing = plan.missing_data(CONFIG, unread)
    if missing:
        refuse(
            f"no data at {', '.join(missing)}: download the data sets (MVTec AD from mvtec.com, KolektorSDD2"
            " from vicos.si), or put your own pictures there (README, Your own product), and give their folder"
            " with --config data_root=...; `make demo` needs no data"
        )
    unlabelled = [place(job.wildcards) for job in jobs if job.rule.name == "collect_labels"]
    lacking = plan.missing_labels(CONFIG, unlabelled)
    if lacking:
        refuse(lacking)
    if plan.missing_weights(CONFIG) and any("train_adclick" in job.rule.name for job in jobs):
        refuse(
            "vision_language.weights: the frozen language-vision Swin needs pretrained weights; give a"
            " safetensors file, or train the whole branch with vision_language.trainable: all"
        )


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
    "languages",
    "masks",
    "branch",
    "expanded_images",
    "expanded_residuals",
)


def manifest_inputs(wildcards):
    return plan.manifest_inputs(CONFIG, wildcards.dataset)


def manifest_data(wildcards):
    return plan.data_digest(CONFIG, wildcards.dataset, wildcards.category)


def backbone_file(wildcards):
    return plan.backbone_file(CONFIG)


def source_images(wildcards):
    return plan.images_of(CONFIG, place(wildcards), wildcards.source)


def prompt_bank(wildcards):
    return CONFIG.datasets[wildcards.dataset].prompts


def pretraining_inputs(wildcards):
    sources = plan.pretraining_sources(CONFIG, place(wildcards))
    return plan.training_inputs(CONFIG, sources, matching=wildcards.matching, masks=True)


def finetuning_inputs(wildcards):
    return plan.finetuning_inputs(CONFIG, place(wildcards), wildcards.variant, wildcards.seed)


def click_inputs(wildcards):
    return plan.click_inputs(CONFIG, place(wildcards), wildcards.method, wildcards.seed)


def labelling_inputs(wildcards):
    return plan.labelling_inputs(CONFIG, place(wildcards), wildcards.labels, wildcards.seed)


def labels_file(wildcards):
    return plan.labels_file(CONFIG, place(wildcards), wildcards.labels, wildcards.seed)


def labels_folder(wildcards):
    return plan.labels_folder(CONFIG, place(wildcards))


def labels_digest(wildcards):
    return plan.folder_digest(labels_folder(wildcards))


def detector_inputs(wildcards):
    return plan.detector_inputs(CONFIG, place(wildcards), wildcards.variant, wildcards.seed)


def detection_inputs(wildcards):
    return plan.detection_inputs(CONFIG, place(wildcards), wildcards.method, wildcards.seed)


def table_metrics(wildcards):
    return plan.table_metrics(CONFIG, int(wildcards.number))


def robot_metrics(wildcards):
    return plan.robot_metrics(CONFIG)


def table_file(number):
    """A function that gives a table's file, or ends a run that asks for a table which it does not make."""

    def file_of(wildcards):
        if not CONFIG.tables.get(number):
            refuse(f"table {number}: this run makes none; name its data sets under tables.{number}")
        return plan.table_file(CONFIG, number)

    return file_of


def robot_table(wildcards):
    """The table of honest clicks, or the end of a run that asks for it and makes none."""
    made = plan.robot_table(CONFIG)
    if not made:
        refuse(
            "honest_clicks: this run makes no such table; name users under run_robots, methods that are run"
            " under robot_methods, and data sets under tables.1"
        )
    return made


def figure_labels(figure, method="all"):
    names = {"data set": "{dataset}", "category": "{category}"}
    return names | {"figure": figure, "method": CONFIG.titles.get(method, method)}


def click_figure_inputs(wildcards):
    return plan.click_figure_inputs(CONFIG, place(wildcards))


def map_figure_inputs(wildcards):
    return plan.map_figure_inputs(CONFIG, place(wildcards))


def label_cost_metrics(wildcards):
    return plan.label_cost_metrics(CONFIG, place(wildcards))


def training_records(wildcards):
    return plan.training_records(CONFIG, place(wildcards))
