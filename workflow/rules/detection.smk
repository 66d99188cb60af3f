rule expand_defects:
    input:
        unpack(planned(plan.detection.expansion_inputs)),
        manifest="results/{run}/{dataset}/{category}/make_manifest/manifest.csv",
        images="results/{run}/{dataset}/{category}/make_manifest/images.h5",
        labels=planned(plan.clicks.labels_file),
    output:
        expanded=passing_at_last(
            "results/{run}/{dataset}/{category}/expand_defects/{labels}/seed{seed}/images.h5"
        ),
    log:
        "results/{run}/logs/expand_defects/{dataset}-{category}-{labels}-{seed}.log",
    benchmark:
        "results/{run}/benchmarks/expand_defects/{dataset}-{category}-{labels}-{seed}.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("expand_defects"),
        code=fingerprint("adclick.commands.expand_defects"),
        folder=plan.data.folder_digest(CONFIG.simulation.texture_folder),
        files=flags("residuals"),
    shell:
        "python -m adclick.commands.expand_defects --settings {params.settings:q} {params.files}"
        " --seed {wildcards.seed} --manifest {input.manifest:q} --images {input.images:q}"
        " --labels {input.labels:q} --expanded {output.expanded:q} > {log:q} 2>&1"


rule pretrain_adclick_seg:
    input:
        unpack(planned(plan.clicks.pretraining_inputs)),
    output:
        weights=passing_at_last(
            "results/{run}/{dataset}/{category}/pretrain_adclick_seg/{matching}/{pretraining}/seed{seed}/weights.safetensors"
        ),
        record="results/{run}/{dataset}/{category}/pretrain_adclick_seg/{matching}/{pretraining}/seed{seed}/record.json",
    log:
        "results/{run}/logs/pretrain_adclick_seg/{dataset}-{category}-{matching}-{pretraining}-{seed}.log",
    benchmark:
        "results/{run}/benchmarks/pretrain_adclick_seg/{dataset}-{category}-{matching}-{pretraining}-{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.compute_threads
    resources:
        gpu=GPUS,
    params:
        settings=settings("train_adclick_seg"),
        code=fingerprint("adclick.commands.train_adclick_seg"),
        files=TRAINING_FILES,
    shell:
        "python -m adclick.commands.train_adclick_seg --settings {params.settings:q} {params.files}"
        " --seed {wildcards.seed} --weights {output.weights:q} --record {output.record:q} > {log:q} 2>&1"


rule train_adclick_seg:
    input:
        unpack(planned(plan.detection.detector_inputs)),
    output:
        weights="results/{run}/{dataset}/{category}/train_adclick_seg/{variant}/seed{seed}/weights.safetensors",
        record="results/{run}/{dataset}/{category}/train_adclick_seg/{variant}/seed{seed}/record.json",
    log:
        "results/{run}/logs/train_adclick_seg/{dataset}-{category}-{variant}-{seed}.log",
    benchmark:
        "results/{run}/benchmarks/train_adclick_seg/{dataset}-{category}-{variant}-{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.compute_threads
    resources:
        gpu=GPUS,
    params:
        settings=settings("train_adclick_seg"),
        code=fingerprint("adclick.commands.train_adclick_seg"),
        files=TRAINING_FILES,
    shell:
        "python -m adclick.commands.train_adclick_seg --settings {params.settings:q} {params.files}"
        " --seed {wildcards.seed} --weights {output.weights:q} --record {output.record:q} > {log:q} 2>&1"


rule predict_maps:
    input:
        unpack(planned(plan.detection.detection_inputs)),
        manifest="results/{run}/{dataset}/{category}/make_manifest/manifest.csv",
        images="results/{run}/{dataset}/{category}/make_manifest/images.h5",
    output:
        maps=passing("results/{run}/{dataset}/{category}/predict_maps/{method}/seed{seed}/maps.h5"),
        record="results/{run}/{dataset}/{category}/predict_maps/{method}/seed{seed}/record.json",
    log:
        "results/{run}/logs/predict_maps/{dataset}-{category}-{method}-{seed}.log",
    benchmark:
        "results/{run}/benchmarks/predict_maps/{dataset}-{category}-{method}-{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.compute_threads
    resources:
        gpu=GPUS,
    params:
        settings=settings("predict_maps"),
        code=fingerprint("adclick.commands.predict_maps"),
        files=flags("weights", "language"),
    shell:
        "python -m adclick.commands.predict_maps --settings {params.settings:q} {params.files}"
        " --manifest {input.manifest:q} --images {input.images:q} --residuals {input.residuals:q}"
        " --maps {output.maps:q} --record {output.record:q} > {log:q} 2>&1"


# Where the environment of anomalib lies says nothing of a result.
rule fit_map_peer:
    input:
        unpack(planned(plan.detection.map_peer_inputs)),
        manifest="results/{run}/{dataset}/{category}/make_manifest/manifest.csv",
        images="results/{run}/{dataset}/{category}/make_manifest/images.h5",
    output:
        maps=passing_at_last(
            "results/{run}/{dataset}/{category}/fit_map_peer/{method}/seed{seed}/maps.h5"
        ),
        record="results/{run}/{dataset}/{category}/fit_map_peer/{method}/seed{seed}/record.json",
    log:
        "results/{run}/logs/fit_map_peer/{dataset}-{category}-{method}-{seed}.log",
    benchmark:
        "results/{run}/benchmarks/fit_map_peer/{dataset}-{category}-{method}-{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.compute_threads
    resources:
        gpu=GPUS,
    params:
        settings=settings("fit_map_peer"),
        code=fingerprint("adclick.commands.fit_map_peer"),
        files=flags("simulated", "expanded", "backbone"),
        folder=planned(plan.detection.texture_digest),
        python=CONFIG.anomalib_python,
    shell:
        "python -m adclick.commands.fit_map_peer --settings {params.settings:q} {params.files}"
        " --seed {wildcards.seed} --manifest {input.manifest:q} --images {input.images:q}"
        " --python {params.python:q} --maps {output.maps:q} --record {output.record:q} > {log:q} 2>&1"


rule evaluate_maps:
    input:
        manifest="results/{run}/{dataset}/{category}/make_manifest/manifest.csv",
        masks="results/{run}/{dataset}/{category}/make_manifest/masks.h5",
        maps=planned(plan.detection.maps_file),
    output:
        metrics="results/{run}/{dataset}/{category}/evaluate_maps/{method}/seed{seed}/metrics.json",
        curves="results/{run}/{dataset}/{category}/evaluate_maps/{method}/seed{seed}/curves.json",
    log:
        "results/{run}/logs/evaluate_maps/{dataset}-{category}-{method}-{seed}.log",
    benchmark:
        "results/{run}/benchmarks/evaluate_maps/{dataset}-{category}-{method}-{seed}.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("evaluate_maps"),
        code=fingerprint("adclick.commands.evaluate_maps"),
    shell:
        "python -m adclick.commands.evaluate_maps --settings {params.settings:q}"
        " --seed {wildcards.seed} --manifest {input.manifest:q} --masks {input.masks:q}"
        " --maps {input.maps:q} --metrics {output.metrics:q} --curves {output.curves:q} > {log:q} 2>&1"


rule detectors:
    input:
        plan.detection.detectors(CONFIG),
