rule make_click_figures:
    input:
        unpack(planned(plan.figures.click_figure_inputs)),
        images="results/{run}/{dataset}/{category}/make_manifest/images.h5",
        masks="results/{run}/{dataset}/{category}/make_manifest/masks.h5",
    output:
        clicks=report(
            "results/{run}/figures/{dataset}/{category}/clicks.png",
            caption="../report/clicks.rst",
            category="Figures",
            labels=figure_labels(
                "best to worst after clicks", plan.figures.shown_click_method(CONFIG)
            ),
        ),
        miou=report(
            "results/{run}/figures/{dataset}/{category}/miou.png",
            caption="../report/miou.rst",
            category="Figures",
            labels=figure_labels("mIoU against clicks"),
        ),
    log:
        "results/{run}/logs/make_click_figures/{dataset}-{category}.log",
    benchmark:
        "results/{run}/benchmarks/make_click_figures/{dataset}-{category}.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("make_click_figures"),
        code=fingerprint("adclick.commands.make_click_figures"),
        files=flags("metrics"),
    shell:
        "python -m adclick.commands.make_click_figures --settings {params.settings:q} {params.files}"
        " --maps {input.maps:q} --images {input.images:q} --masks {input.masks:q}"
        " --clicks-figure {output.clicks:q} --miou-figure {output.miou:q} > {log:q} 2>&1"


rule make_map_figures:
    input:
        unpack(planned(plan.figures.map_figure_inputs)),
        manifest="results/{run}/{dataset}/{category}/make_manifest/manifest.csv",
        images="results/{run}/{dataset}/{category}/make_manifest/images.h5",
        masks="results/{run}/{dataset}/{category}/make_manifest/masks.h5",
    output:
        maps=report(
            "results/{run}/figures/{dataset}/{category}/maps.png",
            caption="../report/maps.rst",
            category="Figures",
            labels=figure_labels("anomaly maps", plan.figures.shown_map_method(CONFIG)),
        ),
        curves=report(
            "results/{run}/figures/{dataset}/{category}/curves.png",
            caption="../report/curves.rst",
            category="Figures",
            labels=figure_labels("precision and overlap"),
        ),
    log:
        "results/{run}/logs/make_map_figures/{dataset}-{category}.log",
    benchmark:
        "results/{run}/benchmarks/make_map_figures/{dataset}-{category}.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("make_map_figures"),
        code=fingerprint("adclick.commands.make_map_figures"),
        files=flags("maps", "curves"),
    shell:
        "python -m adclick.commands.make_map_figures --settings {params.settings:q} {params.files}"
        " --manifest {input.manifest:q} --images {input.images:q} --masks {input.masks:q}"
        " --maps-figure {output.maps:q} --curves-figure {output.curves:q} > {log:q} 2>&1"


rule make_training_figure:
    input:
        records=planned(plan.figures.training_records),
    output:
        losses=report(
            "results/{run}/figures/{dataset}/{category}/losses.png",
            caption="../report/losses.rst",
            category="Figures",
            labels=figure_labels("training loss"),
        ),
    log:
        "results/{run}/logs/make_training_figure/{dataset}-{category}.log",
    benchmark:
        "results/{run}/benchmarks/make_training_figure/{dataset}-{category}.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("make_training_figure"),
        code=fingerprint("adclick.commands.make_training_figure"),
        files=flags("records"),
    shell:
        "python -m adclick.commands.make_training_figure --settings {params.settings:q} {params.files}"
        " --figure {output.losses:q} > {log:q} 2>&1"


rule make_label_costs:
    input:
        metrics=planned(plan.figures.label_cost_metrics),
    output:
        table="results/{run}/figures/{dataset}/{category}/labels.csv",
        figure=report(
            "results/{run}/figures/{dataset}/{category}/labels.png",
            caption="../report/labels.rst",
            category="Figures",
            labels=figure_labels("what labels buy"),
        ),
    log:
        "results/{run}/logs/make_label_costs/{dataset}-{category}.log",
    benchmark:
        "results/{run}/benchmarks/make_label_costs/{dataset}-{category}.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("make_label_costs"),
        code=fingerprint("adclick.commands.make_label_costs"),
        files=flags("metrics"),
    shell:
        "python -m adclick.commands.make_label_costs --settings {params.settings:q} {params.files}"
        " --table {output.table:q} --figure {output.figure:q} > {log:q} 2>&1"


FIGURES = plan.figures.figures(CONFIG)


rule figures:
    input:
        FIGURES,
