"""The commands that a person types: `adclick <verb>`, each implemented in a room of its own.

Only options and help are loaded here; a verb's code is imported when it is run, so that help is
quick.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from adclick.run.errors import InputError
from adclick.run.job import run

MaskValuesOption = Annotated[
    Literal["ids", "shades"] | None,
    typer.Option(
        help="what is defect in masks of several values: all but 0, or what is brighter than half"
        " of white; without it, masks must be clear by themselves"
    ),
]
HostOption = Annotated[str, typer.Option(help="other than this machine needs a token")]
PortOption = Annotated[
    int | None, typer.Option(help="default: the first free one from 8765", min=1, max=65535)
]
TokenOption = Annotated[
    str | None, typer.Option(help="what a browser must show; made up for other hosts")
]
OpenOption = Annotated[bool, typer.Option("--open/--no-open", help="open the page in a browser")]
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def main() -> None:
    """Run one verb: exit 0 when done, 2 with one line for a user's mistake, 1 when it failed."""
    run(_call)


def _call() -> None:
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="adclick", standalone_mode=False)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        help_of = context.command_path if context else "adclick"
        line = " ".join(error.format_message().split())
        raise InputError(f"{line} (see {help_of} --help)") from None
    except OSError as error:
        if error.filename is None:
            raise
        reason = error.strerror or type(error).__name__
        raise InputError(f"{error.filename}: cannot be read or written ({reason})") from None
    sys.exit(code)


@app.callback()
def adclick() -> None:
    """Label industrial defects by clicks, train detectors, and score anomaly maps."""


@app.command()
def evaluate(
    maps: Annotated[Path, typer.Option(metavar="DIR", help="maps, as DIR/<defect type>/<stem>")],
    masks: Annotated[Path, typer.Option(metavar="DIR", help="masks, or a category's folder")],
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write the metrics here, as JSON")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print that JSON, no summary")] = False,
    per_image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write AP and AUROC of every image (CSV)")
    ] = None,
    per_component: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="write every defect's coverage, missed first (CSV)"),
    ] = None,
    pro_limit: Annotated[
        float, typer.Option(help="PRO's largest false positive rate", metavar="RATE")
    ] = 0.3,
    resize: Annotated[
        bool, typer.Option("--resize", help="stretch maps to their masks, bilinearly")
    ] = False,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="leave out images without a map")
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="one map in memory at a time; says how exact")
    ] = False,
    mask_values: MaskValuesOption = None,
) -> None:
    """Score anomaly maps of any method.

    Pixel AP, AUROC and PRO, and image AUROC, at the masks' own size. Maps are .npy, .tif, .tiff or
    .png files (16 bits; 8 are coarse), one score a pixel, higher is more anomalous, under
    <defect type>/<stem> or test/<defect type>/<stem>. Masks are <defect type>/<stem>_mask.png or
    <defect type>/<stem>.png, white on black, directly or under ground_truth as in MVTec AD. Maps
    under good need no mask.

    \b
    Examples:
      adclick evaluate --maps maps/bottle --masks mvtec/bottle
      adclick evaluate --maps maps/bottle --masks mvtec/bottle --resize --output bottle.json
    """
    from adclick.metrics.scoring import main as verb

    verb(
        maps=maps,
        masks=masks,
        output=output,
        per_image=per_image,
        per_component=per_component,
        pro_limit=pro_limit,
        resize=resize,
        skip_missing=skip_missing,
        stream=stream,
        mask_values=mask_values,
        as_json=as_json,
    )


@app.command()
def init(
    normal: Annotated[Path, typer.Argument(metavar="NORMAL_DIR", help="normal photographs")],
    defects: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DEFECT_DIR]", help="defective ones, a folder in it for each kind of defect"
        ),
    ] = None,
    *,
    output: Annotated[
        Path,
        typer.Option(metavar="DIR", help="the project's folder; the product is called like it"),
    ],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="of the product")] = None,
    size: Annotated[
        int | None, typer.Option(metavar="PX", help="side that pictures are resized to")
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="instead: shape kept, so many network pixels a photograph's pixel",
        ),
    ] = None,
    texture: Annotated[
        bool | None, typer.Option("--texture/--object", help="whether it fills the picture")
    ] = None,
    held_out: Annotated[
        int | None,
        typer.Option(metavar="N", help="normal photographs for the threshold; default: a fifth"),
    ] = None,
    leave_out: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="a photograph that is not to be used; may be repeated"),
    ] = None,
    use: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="one that was left out, to be used again"),
    ] = None,
    backbone: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="ResNet-18's weights, where there is no network"),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="masks of the defective ones, to learn from"),
    ] = None,
    normal_test: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="more normal ones, for tests alone"),
    ] = None,
) -> None:
    """Make a project of two folders of photographs: look at them, say what is there, and write DIR.

    DIR/adclick.yaml are the settings, DIR/photographs lists the pictures, which stay where they
    are and are not changed. Some normal ones are held out of training: the threshold of the
    detector is set with them. Run it again when there are more photographs: it remembers what was
    left out, held out or set before, and options change it.

    \b
    Examples:
      adclick init photos/good photos/defects --output bracket
      adclick init photos/good photos/defects --output bracket --leave-out photos/good/IMG_17.jpg
    """
    from adclick.project.starting import init as verb

    verb(
        normal,
        defects,
        output=output,
        name=name,
        size_px=size,
        scale=scale,
        texture=texture,
        held_out=held_out,
        leave_out=leave_out or [],
        use=use or [],
        backbone=backbone,
        mask_dir=masks,
        normal_test_dir=normal_test,
    )


@app.command(name="export-model")
def export_model(
    category: Annotated[
        Path, typer.Argument(metavar="CATEGORY", help="results/<run>/<data set>/<category>")
    ],
    variant: Annotated[str, typer.Argument(metavar="VARIANT", help="such as finetuned_lang, weak")],
    *,
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="the model folder to write")],
    seed: Annotated[int, typer.Option(help="which of the run's seeds")] = 0,
) -> None:
    """Collect what a trained network needs, so that it can be used on new pictures anywhere.

    The folder holds weights, backbone, the normal images with their features, the words of each
    defect type, and model.json, which says what it is. `adclick predict` and `adclick annotate`
    read it and nothing else.

    \b
    Examples:
      adclick export-model results/demo/toy/capsule finetuned_lang --output models/capsule
      adclick export-model results/demo/toy/capsule weak --seed 0 --output models/capsule-detector
    """
    from adclick.models.export import describe_folder
    from adclick.models.export import export_model as verb

    verb(category, variant, seed=seed, output=output)
    print(describe_folder(output))


@app.command(name="export-onnx")
def export_onnx(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="a detector's model folder")],
    *,
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="the folder to write")],
    false_alarms: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="of normal pictures that may be called defective; default: 0.01",
        ),
    ] = None,
) -> None:
    """Write a detector for ONNX Runtime: a picture in, its map and score out, without torch.

    FOLDER/detector.onnx is all of it in one graph: backbone, normal pictures, matching, network,
    smoothing. FOLDER/model.json has the threshold, FOLDER/inspect_picture.py shows in a few lines
    how it is used. Maps are compared with torch's before the folder is there. `adclick predict`
    reads it like a model folder. Needs pip install 'adclick[onnx]'.

    \b
    Examples:
      adclick export-onnx models/bracket --output models/bracket-onnx
      adclick export-onnx models/bracket --output models/bracket-onnx --false-alarms 0.05
    """
    from adclick.models.onnx_folder import export_onnx as verb

    verb(model, output, false_alarms=false_alarms)
    size_mb = sum(path.stat().st_size for path in output.iterdir()) / 1e6
    print(f"{output}: {size_mb:.0f} MB; try python {output / 'inspect_picture.py'} PICTURE")


@app.command()
def predict(
    model: Annotated[Path, typer.Option(metavar="FOLDER", help="a detector's model folder")],
    images: Annotated[Path, typer.Option(metavar="DIR", help="photographs, also in subfolders")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="where maps and scores are written")],
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="above it a pixel is marked, and its picture defective; default: --false-alarms",
        ),
    ] = None,
    false_alarms: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="of normal pictures that may be called defective; default: 0.01",
        ),
    ] = None,
    overlays: Annotated[bool, typer.Option(help="draw every map over its picture")] = True,
) -> None:
    """Find defects in a folder of photographs, without any click.

    DIR/maps holds a float32 .tiff a picture, at its own size, as `adclick evaluate --maps` reads
    them; DIR/overlays a PNG to look at; DIR/scores.csv each picture's score, whether it is
    defective, and its area above the threshold; DIR/regions.csv a line for each place above it;
    DIR/results.json both. The threshold is set with normal pictures that nothing was trained on.
    Pictures that cannot be read are named and skipped (exit code 1).

    \b
    Examples:
      adclick predict --model models/capsule-detector --images photos --output found
      adclick predict --model models/bottle --images photos --output found --false-alarms 0.05
    """
    from adclick.models.predicting import predict as verb

    verb(
        model,
        images,
        output,
        threshold=threshold,
        overlays=overlays,
        false_alarms=false_alarms,
    )


@app.command()
def annotate(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="[CATEGORY]", help="results/<run>/<data set>/<category> of a run"),
    ] = None,
    *,
    model: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="a model folder (adclick export-model)")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="the pictures to label, also in subfolders")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="DIR", help="where labels are written and found again")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(metavar="DIR", help="masks to start from, as <image>.png")
    ] = None,
    mask_values: MaskValuesOption = None,
    variant: Annotated[
        str | None, typer.Option(metavar="NAME", help="of a run: which trained network")
    ] = None,
    seed: Annotated[int, typer.Option(help="of a run: which of its seeds")] = 0,
    host: HostOption = "127.0.0.1",
    port: PortOption = None,
    token: TokenOption = None,
    open_page: OpenOption = True,
) -> None:
    """Label defects in the browser, with a few clicks each.

    Serves a page on this machine. Every click is on disk before it is answered: a closed page, a
    killed server or a lost connection lose nothing. Labels are <image>.png (0 and 255) and
    <image>.json; `adclick export-labels` turns them into other formats.

    \b
    Examples:
      adclick annotate results/demo/toy/capsule
      adclick annotate results/own/own/bracket --images data/own   (at the pictures' own size)
      adclick annotate --model models/bottle --images photos --labels labels
    """
    from adclick.annotate.serving import main as verb

    verb(
        run=run,
        model=model,
        images=images,
        labels=labels,
        masks=masks,
        mask_values=mask_values,
        variant=variant,
        seed=seed,
        host=host,
        port=port,
        token=token,
        open_page=open_page,
    )


@app.command()
def studio(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="the project's folder, or a new one")
    ] = Path(),
    *,
    host: HostOption = "127.0.0.1",
    port: PortOption = None,
    token: TokenOption = None,
    open_page: OpenOption = True,
) -> None:
    """From photographs to a detector, in the browser.

    Serves a page on this machine with five steps: photographs, learn, label, inspect, take away.
    FOLDER is a project of plain files, which snakemake runs unchanged and which `adclick init`
    makes, too. A run that was begun on the page goes on when the server ends.

    \b
    Examples:
      adclick studio bracket
      cd bracket; adclick studio
    """
    from adclick.studio.serving import main as verb

    verb(folder=folder, host=host, port=port, token=token, open_page=open_page)


@app.command(name="export-labels")
def export_labels(
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="a folder of labels")],
    *,
    images: Annotated[Path, typer.Option(metavar="DIR", help="the pictures that were labelled")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="a new folder")],
    form: Annotated[
        str, typer.Option("--format", metavar="NAME", help="mvtec, coco, yolo, anomalib or png")
    ] = "mvtec",
) -> None:
    """Write labels as other software reads them.

    mvtec: test/<type> and ground_truth/<type>/<stem>_mask.png. anomalib: the same and a CSV with
    its columns. coco: annotations/instances_default.json with run-length masks, and images. yolo:
    segmentation polygons. png: masks, index masks of the types and classes.json. Only finished
    images (done and normal) are written.

    \b
    Examples:
      adclick export-labels labels --images photos --output bottle --format mvtec
      adclick export-labels labels --images photos --output coco --format coco
    """
    from adclick.annotate.export import main as verb

    verb(labels, images=images, output=output, form=form)


prompts = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Phrases that describe defects: ask a language model, then choose.",
)


@prompts.command()
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
    from adclick.language.proposing import propose

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


@prompts.command()
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
    from adclick.language.choosing import choose_phrases

    choose_phrases(proposals, bank=bank, accept=accept)


app.add_typer(prompts, name="prompts")


@app.command()
def convert_weights(
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="a .pth or .safetensors file, or a timm model")
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUTPUT", help="FILE.safetensors; a folder for lavt-bert")
    ],
    *,
    kind: Annotated[
        Literal["lavt-swin", "lavt-bert", "swin", "simpleclick"],
        typer.Option(help="what INPUT holds and what is wanted of it"),
    ],
    vocabulary: Annotated[
        Path | None, typer.Option(metavar="FILE", help="lavt-bert: vocab.txt of its BERT")
    ] = None,
) -> None:
    """Turn published weights into what the configuration takes; no code in INPUT is ever run.

    lavt-swin: the language-vision Swin of a LAVT checkpoint, for `vision_language.weights`.
    lavt-bert: the text encoder of the same checkpoint, a folder for `language.weights.file`.
    swin: a Swin without language, in timm's names or the original ones, for
    `vision_language.weights` with `vision_language.trainable: language`.
    simpleclick: a SimpleClick checkpoint, for `click_peers.simpleclick.weights`.

    \b
    Examples:
      adclick convert-weights refcoco.pth lavt.safetensors --kind lavt-swin
      adclick convert-weights refcoco.pth lavt-bert --kind lavt-bert --vocabulary vocab.txt
      adclick convert-weights swin_base_patch4_window12_384.ms_in22k swin.safetensors --kind swin
      adclick convert-weights cocolvis_vit_base.pth simpleclick.safetensors --kind simpleclick
    """
    from adclick.networks.converting import convert

    convert(source, output, kind=kind, vocabulary=vocabulary)


@app.command()
def explain(
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="a file below results, or results/<run>")
    ],
    *,
    all_results: Annotated[
        bool, typer.Option("--all", help="judge every result of the run that RESULT is")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="read results whole, to find what a disk has damaged")
    ] = False,
    configfile: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="as given to snakemake; default: config's of this run"),
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="as given to snakemake; may be repeated"),
    ] = None,
) -> None:
    """Say what made a result, of what, and whether it is current; if not, what has changed.

    Every result carries a stamp of the code, settings, inputs, seed and library versions that made
    it. It is compared with what the workflow would make now, whatever files' dates say, so also
    results that were copied from another machine can be judged. Nothing is run or changed. The last
    line is the `snakemake` command that makes anew what is stale. Exit code 1 when something is.

    \b
    Examples:
      adclick explain results/demo/tables/table4.csv
      adclick explain results/demo/toy/capsule/evaluate_maps/weak/seed0/metrics.json
      adclick explain --all results/small --config data_root=/path/to/data
    """
    from adclick.run.explaining import main as verb

    code = verb(
        result,
        whole_run=all_results,
        overlays=configfile or [],
        values=config or [],
        thorough=check,
    )
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
