rule generate_prompts:
    input:
        bank=planned(plan.language.prompt_bank),
    output:
        prompts="results/{run}/{dataset}/generate_prompts/prompts.json",
    log:
        "results/{run}/logs/generate_prompts/{dataset}.log",
    benchmark:
        "results/{run}/benchmarks/generate_prompts/{dataset}.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("generate_prompts"),
        code=fingerprint("adclick.commands.generate_prompts"),
    shell:
        "python -m adclick.commands.generate_prompts --settings {params.settings:q}"
        " --bank {input.bank:q} --prompts {output.prompts:q} > {log:q} 2>&1"


rule encode_prompts:
    input:
        prompts="results/{run}/{dataset}/generate_prompts/prompts.json",
    output:
        language="results/{run}/{dataset}/encode_prompts/language.h5",
    log:
        "results/{run}/logs/encode_prompts/{dataset}.log",
    benchmark:
        "results/{run}/benchmarks/encode_prompts/{dataset}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.compute_threads
    params:
        settings=settings("encode_prompts"),
        code=fingerprint("adclick.commands.encode_prompts"),
        folder=plan.data.folder_digest(CONFIG.language.weights.file),
    shell:
        "python -m adclick.commands.encode_prompts --settings {params.settings:q}"
        " --prompts {input.prompts:q} --language {output.language:q} > {log:q} 2>&1"
