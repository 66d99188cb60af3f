rule extract_features:
    input:
        unpack(planned(plan.residuals.backbone_file)),
        manifest="results/{run}/{dataset}/{category}/make_manifest/manifest.csv",
        images="results/{run}/{dataset}/{category}/make_manifest/images.h5",
    output:
        features=passing("results/{run}/{dataset}/{category}/extract_features/features.h5"),
    log:
        "results/{run}/logs/extract_features/{dataset}-{category}.log",
    benchmark:
        "results/{run}/benchmarks/extract_features/{dataset}-{category}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.compute_threads
    resources:
        gpu=GPUS,
    params:
        settings=settings("extract_features"),
        code=fingerprint("adclick.commands.extract_features"),
        files=flags("backbone"),
    shell:
        "python -m adclick.commands.extract_features --settings {params.settings:q} {params.files}"
        " --manifest {input.manifest:q} --images {input.images:q}"
        " --features {output.features:q} > {log:q} 2>&1"


rule fit_retrieval:
    input:
        features="results/{run}/{dataset}/{category}/extract_features/features.h5",
    output:
        retrieval="results/{run}/{dataset}/{category}/fit_retrieval/retrieval.h5",
    log:
        "results/{run}/logs/fit_retrieval/{dataset}-{category}.log",
    benchmark:
        "results/{run}/benchmarks/fit_retrieval/{dataset}-{category}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.compute_threads
    params:
        settings=settings("fit_retrieval"),
        code=fingerprint("adclick.commands.fit_retrieval"),
    shell:
        "python -m adclick.commands.fit_retrieval --settings {params.settings:q}"
        " --features {input.features:q} --retrieval {output.retrieval:q} > {log:q} 2>&1"


rule fit_foreground:
    input:
        features="results/{run}/{dataset}/{category}/extract_features/features.h5",
    output:
        foreground="results/{run}/{dataset}/{category}/fit_foreground/foreground.h5",
    log:
        "results/{run}/logs/fit_foreground/{dataset}-{category}.log",
    benchmark:
        "results/{run}/benchmarks/fit_foreground/{dataset}-{category}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.compute_threads
    params:
        settings=settings("fit_foreground"),
        code=fingerprint("adclick.commands.fit_foreground"),
    shell:
        "python -m adclick.commands.fit_foreground --settings {params.settings:q}"
        " --features {input.features:q} --foreground {output.foreground:q} > {log:q} 2>&1"


rule find_neighbours:
    input:
        unpack(planned(plan.residuals.backbone_file)),
        images=planned(plan.residuals.images_of),
        retrieval="results/{run}/{dataset}/{category}/fit_retrieval/retrieval.h5",
    output:
        neighbours="results/{run}/{dataset}/{category}/find_neighbours/{source}.h5",
    log:
        "results/{run}/logs/find_neighbours/{dataset}-{category}-{source}.log",
    benchmark:
        "results/{run}/benchmarks/find_neighbours/{dataset}-{category}-{source}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.compute_threads
    resources:
        gpu=GPUS,
    params:
        settings=settings("find_neighbours"),
        code=fingerprint("adclick.commands.find_neighbours"),
        files=flags("backbone"),
    shell:
        "python -m adclick.commands.find_neighbours --settings {params.settings:q} {params.files}"
        " --images {input.images:q} --retrieval {input.retrieval:q}"
        " --neighbours {output.neighbours:q} > {log:q} 2>&1"


rule choose_matching:
    input:
        unpack(planned(plan.residuals.backbone_file)),
        manifest="results/{run}/{dataset}/{category}/make_manifest/manifest.csv",
        images="results/{run}/{dataset}/{category}/make_manifest/images.h5",
        features="results/{run}/{dataset}/{category}/extract_features/features.h5",
        retrieval="results/{run}/{dataset}/{category}/fit_retrieval/retrieval.h5",
        foreground="results/{run}/{dataset}/{category}/fit_foreground/foreground.h5",
    output:
        choice="results/{run}/{dataset}/{category}/choose_matching/{matching}/choice.json",
    log:
        "results/{run}/logs/choose_matching/{dataset}-{category}-{matching}.log",
    benchmark:
        "results/{run}/benchmarks/choose_matching/{dataset}-{category}-{matching}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.compute_threads
    resources:
        gpu=GPUS,
    params:
        settings=settings("choose_matching"),
        code=fingerprint("adclick.commands.choose_matching"),
        files=flags("backbone"),
    shell:
        "python -m adclick.commands.choose_matching --settings {params.settings:q} {params.files}"
        " --manifest {input.manifest:q} --images {input.images:q} --features {input.features:q}"
        " --retrieval {input.retrieval:q} --foreground {input.foreground:q}"
        " --choice {output.choice:q} > {log:q} 2>&1"


rule compute_residuals:
    input:
        unpack(planned(plan.residuals.backbone_file)),
        unpack(planned(plan.residuals.choice_file)),
        images=planned(plan.residuals.images_of),
        neighbours="results/{run}/{dataset}/{category}/find_neighbours/{source}.h5",
        features="results/{run}/{dataset}/{category}/extract_features/features.h5",
        foreground="results/{run}/{dataset}/{category}/fit_foreground/foreground.h5",
    output:
        residuals=passing_at_last(
            "results/{run}/{dataset}/{category}/compute_residuals/{matching}/{source}.h5"
        ),
    log:
        "results/{run}/logs/compute_residuals/{dataset}-{category}-{matching}-{source}.log",
    benchmark:
        "results/{run}/benchmarks/compute_residuals/{dataset}-{category}-{matching}-{source}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.compute_threads
    resources:
        gpu=GPUS,
    params:
        settings=settings("compute_residuals"),
        code=fingerprint("adclick.commands.compute_residuals"),
        files=flags("backbone", "choice"),
    shell:
        "python -m adclick.commands.compute_residuals --settings {params.settings:q} {params.files}"
        " --images {input.images:q} --neighbours {input.neighbours:q} --features {input.features:q}"
        " --foreground {input.foreground:q} --residuals {output.residuals:q} > {log:q} 2>&1"


# Those of real pictures stay longer: maps, clicks and exported models are made of them.
if CONFIG.spare_disk:

    use rule compute_residuals as compute_drawn_residuals with:
        output:
            residuals=temp(
                "results/{run}/{dataset}/{category}/compute_residuals/{matching}/{source}.h5"
            ),
        wildcard_constraints:
            source=DRAWN,

    ruleorder: compute_drawn_residuals > compute_residuals
