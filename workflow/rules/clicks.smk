rule pretrain_adclick:
    input:
        unpack(planned(plan.clicks.pretraining_inputs)),
    output:
        weights=passing_at_last(
            "results/{run}/{dataset}/{category}/pretrain_adclick/{matching}/{pretraining}/seed{seed}/weights.safetensors"
        ),
        record="results/{run}/{dataset}/{category}/pretrain_adclick/{matching}/{pretraining}/seed{seed}/record.json",
    log:
        "results/{run}/logs/pretrain_adclick/{dataset}-{category}-{matching}-{pretraining}-{seed}.log",
    benchmark:
        "results/{run}/benchmarks/pretrain_adclick/{dataset}-{category}-{matching}-{pretraining}-{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.compute_threads
    resources:
        gpu=GPUS,
    params:
        settings=settings("train_adclick"),
        code=fingerprint("adclick.commands.train_adclick"),
        files=TRAINING_FILES,
    shell:
        "python -m adclick.commands.train_adclick --settings {params.settings:q} {params.files}"
        " --seed {wildcards.seed} --weights {output.weights:q} --record {output.record:q} > {log:q} 2>&1"


rule train_adclick:
    input:
        unpack(planned(plan.clicks.finetuning_inputs)),
    output:
        weights="results/{run}/{dataset}/{category}/train_adclick/{variant}/seed{seed}/weights.safetensors",
        record="results/{run}/{dataset}/{category}/train_adclick/{variant}/seed{seed}/record.json",
    log:
        "results/{run}/logs/train_adclick/{dataset}-{category}-{variant}-{seed}.log",
    benchmark:
        "results/{run}/benchmarks/train_adclick/{dataset}-{category}-{variant}-{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.compute_threads
    resources:
        gpu=GPUS,
    params:
        settings=settings("train_adclick"),
        code=fingerprint("adclick.commands.train_adclick"),
        files=TRAINING_FILES,
    shell:
        "python -m adclick.commands.train_adclick --settings {params.settings:q} {params.files}"
        " --seed {wildcards.seed} --weights {output.weights:q} --record {output.record:q} > {log:q} 2>&1"


rule simulate_clicks:
    input:
        unpack(planned(plan.clicks.click_inputs)),
        manifest="results/{run}/{dataset}/{category}/make_manifest/manifest.csv",
        images="results/{run}/{dataset}/{category}/make_manifest/images.h5",
        masks="results/{run}/{dataset}/{category}/make_manifest/masks.h5",
    output:
        maps=passing(
            "results/{run}/{dataset}/{category}/simulate_clicks/{method}/seed{seed}/maps.h5"
        ),
        record="results/{run}/{dataset}/{category}/simulate_clicks/{method}/seed{seed}/record.json",
    log:
        "results/{run}/logs/simulate_clicks/{dataset}-{category}-{method}-{seed}.log",
    benchmark:
        "results/{run}/benchmarks/simulate_clicks/{dataset}-{category}-{method}-{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.compute_threads
    resources:
        gpu=GPUS,
    params:
        settings=settings("simulate_clicks"),
        code=fingerprint("adclick.commands.simulate_clicks"),
        files=flags("residuals", "weights", "language", "peer_weights"),
    shell:
        "python -m adclick.commands.simulate_clicks --settings {params.settings:q} {params.files}"
        " --manifest {input.manifest:q} --images {input.images:q} --masks {input.masks:q}"
        " --maps {output.maps:q} --record {output.record:q} > {log:q} 2>&1"


# Answers to other users than the protocol's: several draws of every image, so they are not kept.
use rule simulate_clicks as simulate_robot_clicks with:
    output:
        maps=temp(
            "results/{run}/{dataset}/{category}/simulate_clicks/{method}/{robot}/seed{seed}/maps.h5"
        ),
        record=temp(
            "results/{run}/{dataset}/{category}/simulate_clicks/{method}/{robot}/seed{seed}/record.json"
        ),
    log:
        "results/{run}/logs/simulate_clicks/{dataset}-{category}-{method}-{robot}-{seed}.log",
    benchmark:
        "results/{run}/benchmarks/simulate_clicks/{dataset}-{category}-{method}-{robot}-{seed}.tsv"


rule evaluate_clicks:
    input:
        masks="results/{run}/{dataset}/{category}/make_manifest/masks.h5",
        maps="results/{run}/{dataset}/{category}/simulate_clicks/{method}/seed{seed}/maps.h5",
    output:
        metrics="results/{run}/{dataset}/{category}/evaluate_clicks/{method}/seed{seed}/metrics.json",
    log:
        "results/{run}/logs/evaluate_clicks/{dataset}-{category}-{method}-{seed}.log",
    benchmark:
        "results/{run}/benchmarks/evaluate_clicks/{dataset}-{category}-{method}-{seed}.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("evaluate_clicks"),
        code=fingerprint("adclick.commands.evaluate_clicks"),
    shell:
        "python -m adclick.commands.evaluate_clicks --settings {params.settings:q}"
        " --seed {wildcards.seed} --masks {input.masks:q} --maps {input.maps:q}"
        " --metrics {output.metrics:q} > {log:q} 2>&1"


use rule evaluate_clicks as evaluate_robot_clicks with:
    input:
        masks="results/{run}/{dataset}/{category}/make_manifest/masks.h5",
        maps="results/{run}/{dataset}/{category}/simulate_clicks/{method}/{robot}/seed{seed}/maps.h5",
    output:
        metrics="results/{run}/{dataset}/{category}/evaluate_clicks/{method}/{robot}/seed{seed}/metrics.json",
    log:
        "results/{run}/logs/evaluate_clicks/{dataset}-{category}-{method}-{robot}-{seed}.log",
    benchmark:
        "results/{run}/benchmarks/evaluate_clicks/{dataset}-{category}-{method}-{robot}-{seed}.tsv"


rule label_defects:
    input:
        unpack(planned(plan.clicks.labelling_inputs)),
        manifest="results/{run}/{dataset}/{category}/make_manifest/manifest.csv",
        images="results/{run}/{dataset}/{category}/make_manifest/images.h5",
        masks="results/{run}/{dataset}/{category}/make_manifest/masks.h5",
    output:
        labels="results/{run}/{dataset}/{category}/label_defects/{labels}/seed{seed}/labels.h5",
    log:
        "results/{run}/logs/label_defects/{dataset}-{category}-{labels}-{seed}.log",
    benchmark:
        "results/{run}/benchmarks/label_defects/{dataset}-{category}-{labels}-{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.compute_threads
    resources:
        gpu=GPUS,
    params:
        settings=settings("label_defects"),
        code=fingerprint("adclick.commands.label_defects"),
        files=flags("weights", "language", "residuals"),
    shell:
        "python -m adclick.commands.label_defects --settings {params.settings:q} {params.files}"
        " --manifest {input.manifest:q} --images {input.images:q} --masks {input.masks:q}"
        " --labels {output.labels:q} > {log:q} 2>&1"


# A person's labels may change at any time: the digest of their files is what a plan sees of them.
rule collect_labels:
    input:
        manifest="results/{run}/{dataset}/{category}/make_manifest/manifest.csv",
    output:
        labels="results/{run}/{dataset}/{category}/collect_labels/labels.h5",
    log:
        "results/{run}/logs/collect_labels/{dataset}-{category}.log",
    benchmark:
        "results/{run}/benchmarks/collect_labels/{dataset}-{category}.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("collect_labels"),
        code=fingerprint("adclick.commands.collect_labels"),
        folder=planned(plan.clicks.labels_folder),
        files=planned(plan.clicks.labels_digest),
    shell:
        "python -m adclick.commands.collect_labels --settings {params.settings:q}"
        " --folder {params.folder:q} --manifest {input.manifest:q} --labels {output.labels:q} > {log:q} 2>&1"


rule record_clicks:
    output:
        record="results/{run}/record_clicks/clicks.json",
    log:
        "results/{run}/logs/record_clicks.log",
    benchmark:
        "results/{run}/benchmarks/record_clicks.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("record_clicks"),
        code=fingerprint("adclick.commands.record_clicks"),
    shell:
        "python -m adclick.commands.record_clicks --settings {params.settings:q}"
        " --record {output.record:q} > {log:q} 2>&1"


rule click_models:
    input:
        plan.clicks.click_models(CONFIG),
