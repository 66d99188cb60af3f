rule make_table:
    input:
        metrics=planned(plan.tables.table_metrics),
        choices=planned(plan.tables.table_choices),
        published="config/published/results.csv",
        paper_settings="config/published/settings.csv",
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
        text="results/{run}/tables/table{number}.txt",
    log:
        "results/{run}/logs/make_table/{number}.log",
    benchmark:
        "results/{run}/benchmarks/make_table/{number}.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("make_table"),
        code=fingerprint("adclick.commands.make_table"),
        files=flags("metrics", "choices"),
    shell:
        "python -m adclick.commands.make_table --settings {params.settings:q} {params.files}"
        " --published {input.published:q} --paper-settings {input.paper_settings:q}"
        " --csv {output.csv:q} --markdown {output.markdown:q} --latex {output.latex:q}"
        " --html {output.html:q} --text {output.text:q} > {log:q} 2>&1"


rule make_robot_table:
    input:
        metrics=planned(plan.tables.robot_metrics),
        paper_settings="config/published/settings.csv",
    output:
        html=report(
            "results/{run}/tables/honest_clicks.html",
            caption="../report/honest_clicks.rst",
            category="Tables",
            labels={"table": "honest clicks"},
        ),
        csv="results/{run}/tables/honest_clicks.csv",
        markdown="results/{run}/tables/honest_clicks.md",
        latex="results/{run}/tables/honest_clicks.tex",
        text="results/{run}/tables/honest_clicks.txt",
    log:
        "results/{run}/logs/make_robot_table/honest_clicks.log",
    benchmark:
        "results/{run}/benchmarks/make_robot_table/honest_clicks.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("make_robot_table"),
        code=fingerprint("adclick.commands.make_robot_table"),
        files=flags("metrics"),
    shell:
        "python -m adclick.commands.make_robot_table --settings {params.settings:q} {params.files}"
        " --paper-settings {input.paper_settings:q} --csv {output.csv:q}"
        " --markdown {output.markdown:q} --latex {output.latex:q} --html {output.html:q}"
        " --text {output.text:q} > {log:q} 2>&1"


rule make_cost_table:
    input:
        records=planned(plan.tables.cost_records),
        paper_settings="config/published/settings.csv",
    output:
        html=report(
            "results/{run}/tables/click_costs.html",
            caption="../report/click_costs.rst",
            category="Tables",
            labels={"table": "click costs"},
        ),
        csv="results/{run}/tables/click_costs.csv",
        markdown="results/{run}/tables/click_costs.md",
        latex="results/{run}/tables/click_costs.tex",
        text="results/{run}/tables/click_costs.txt",
    log:
        "results/{run}/logs/make_cost_table/click_costs.log",
    benchmark:
        "results/{run}/benchmarks/make_cost_table/click_costs.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("make_cost_table"),
        code=fingerprint("adclick.commands.make_cost_table"),
        files=flags("records"),
    shell:
        "python -m adclick.commands.make_cost_table --settings {params.settings:q} {params.files}"
        " --paper-settings {input.paper_settings:q} --csv {output.csv:q}"
        " --markdown {output.markdown:q} --latex {output.latex:q} --html {output.html:q}"
        " --text {output.text:q} > {log:q} 2>&1"


rule make_map_cost_table:
    input:
        records=planned(plan.tables.map_cost_records),
        trainings=planned(plan.tables.map_cost_trainings),
        paper_settings="config/published/settings.csv",
    output:
        html=report(
            "results/{run}/tables/map_costs.html",
            caption="../report/map_costs.rst",
            category="Tables",
            labels={"table": "detector costs"},
        ),
        csv="results/{run}/tables/map_costs.csv",
        markdown="results/{run}/tables/map_costs.md",
        latex="results/{run}/tables/map_costs.tex",
        text="results/{run}/tables/map_costs.txt",
    log:
        "results/{run}/logs/make_map_cost_table/map_costs.log",
    benchmark:
        "results/{run}/benchmarks/make_map_cost_table/map_costs.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings("make_map_cost_table"),
        code=fingerprint("adclick.commands.make_map_cost_table"),
        files=flags("records", "trainings"),
    shell:
        "python -m adclick.commands.make_map_cost_table --settings {params.settings:q} {params.files}"
        " --paper-settings {input.paper_settings:q} --csv {output.csv:q}"
        " --markdown {output.markdown:q} --latex {output.latex:q} --html {output.html:q}"
        " --text {output.text:q} > {log:q} 2>&1"


TABLES = plan.tables.tables(CONFIG)

for number in TABLE_NUMBERS:

    rule:
        name:
            f"table{number}"
        input:
            table_file(number),


rule honest_clicks:
    input:
        robot_table,


rule tables:
    input:
        TABLES,
