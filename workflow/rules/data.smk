rule draw_toy:
    output:
        folder=directory("results/{run}/{dataset}/draw_toy/data"),
        record="results/{run}/{dataset}/draw_toy/record.json",
    log:
        "results/{run}/logs/draw_toy/{dataset}.log",
    benchmark:
        "results/{run}/benchmarks/draw_toy/{dataset}.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("draw_toy"),
        code=fingerprint("adclick.commands.draw_toy"),
    shell:
        "python -m adclick.commands.draw_toy --settings {params.settings:q}"
        " --folder {output.folder:q} --record {output.record:q} > {log:q} 2>&1"


rule make_manifest:
    input:
        unpack(planned(plan.data.manifest_inputs)),
    output:
        manifest="results/{run}/{dataset}/{category}/make_manifest/manifest.csv",
        images="results/{run}/{dataset}/{category}/make_manifest/images.h5",
        masks="results/{run}/{dataset}/{category}/make_manifest/masks.h5",
        record="results/{run}/{dataset}/{category}/make_manifest/record.json",
    log:
        "results/{run}/logs/make_manifest/{dataset}-{category}.log",
    benchmark:
        "results/{run}/benchmarks/make_manifest/{dataset}-{category}.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("make_manifest"),
        data=planned(plan.data.data_digest),
        code=fingerprint("adclick.commands.make_manifest"),
        files=flags("split", "drawn"),
        duplicates=CONFIG.duplicates,
    shell:
        "python -m adclick.commands.make_manifest --settings {params.settings:q} {params.files}"
        " --duplicates {params.duplicates}"
        ' --data-root "$ADCLICK_DATA_ROOT" --manifest {output.manifest:q} --images {output.images:q}'
        " --masks {output.masks:q} --record {output.record:q} --files {params.data:q} > {log:q} 2>&1"


rule simulate_defects:
    input:
        manifest="results/{run}/{dataset}/{category}/make_manifest/manifest.csv",
        images="results/{run}/{dataset}/{category}/make_manifest/images.h5",
        foreground="results/{run}/{dataset}/{category}/fit_foreground/foreground.h5",
    output:
        simulated=passing_at_last("results/{run}/{dataset}/{category}/simulate_defects/{drawn}.h5"),
    log:
        "results/{run}/logs/simulate_defects/{dataset}-{category}-{drawn}.log",
    benchmark:
        "results/{run}/benchmarks/simulate_defects/{dataset}-{category}-{drawn}.tsv"
    wildcard_constraints:
        drawn="images|lines",
    conda:
        "../../environment.yml"
    params:
        settings=settings("simulate_defects"),
        code=fingerprint("adclick.commands.simulate_defects"),
        folder=plan.data.folder_digest(CONFIG.simulation.texture_folder),
    shell:
        "python -m adclick.commands.simulate_defects --settings {params.settings:q}"
        " --manifest {input.manifest:q} --images {input.images:q} --foreground {input.foreground:q}"
        " --simulated {output.simulated:q} > {log:q} 2>&1"
