rule make_table:
    input:
        metrics=table_metrics,
        published="config/published/results.csv",
    output:
        html=report(
            "results/{run}/tables/table{number}.html",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{number}"},
        ),
        csv="results/{run}/tables/table{number}.csv",
        markdown="results/{run}/tables/table{number}.md",
        latex="results/{run}/tables/table{number}.tex",
    log:
        "results/{run}/logs/make_table/{number}.log",
    benchmark:
        "results/{run}/benchmarks/make_table/{number}.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("make_table"),
        code=fingerprint("adclick.commands.make_table"),
        files=flags("metrics"),
    shell:
        "python -m adclick.commands.make_table --settings {params.settings:q} {params.files}"
        " --published {input.published:q} --csv {output.csv:q} --markdown {output.markdown:q}"
        " --latex {output.latex:q} --html {output.html:q} > {log:q} 2>&1"


TABLES = plan.tables(CONFIG)

for number, targets in plan.table_targets(CONFIG).items():

    rule:
        name:
            f"table{number}"
        input:
            targets,


rule tables:
    input:
        TABLES,


rule make_figures:
    input:
        unpack(figure_inputs),
        images="results/{run}/{dataset}/{category}/make_manifest/images.h5",
        masks="results/{run}/{dataset}/{category}/make_manifest/masks.h5",
    output:
        clicks=report(
            "results/{run}/figures/{dataset}/{category}/clicks.png",
            caption="../report/clicks.rst",
            category="Figures",
            labels={
                "dataset": "{dataset}",
                "category": "{category}",
                "figure": "clicks",
            },
        ),
        maps=report(
            "results/{run}/figures/{dataset}/{category}/maps.png",
            caption="../report/maps.rst",
            category="Figures",
            labels={
                "dataset": "{dataset}",
                "category": "{category}",
                "figure": "maps",
            },
        ),
        curve=report(
            "results/{run}/figures/{dataset}/{category}/curve.png",
            caption="../report/curve.rst",
            category="Figures",
            labels={
                "dataset": "{dataset}",
                "category": "{category}",
                "figure": "mIoU against clicks",
            },
        ),
    log:
        "results/{run}/logs/make_figures/{dataset}-{category}.log",
    benchmark:
        "results/{run}/benchmarks/make_figures/{dataset}-{category}.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("make_figures"),
        code=fingerprint("adclick.commands.make_figures"),
        files=flags("click_metrics", "click_maps", "maps"),
    shell:
        "python -m adclick.commands.make_figures --settings {params.settings:q} {params.files}"
        " --images {input.images:q} --masks {input.masks:q} --clicks-figure {output.clicks:q}"
        " --maps-figure {output.maps:q} --curve-figure {output.curve:q} > {log:q} 2>&1"


FIGURES = plan.figures(CONFIG)


rule figures:
    input:
        FIGURES,
