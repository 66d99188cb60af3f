"""A finished table as CSV, Markdown, LaTeX, HTML and plain text for a terminal; all say the same,
mark by mark.
"""

import html
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from adclick.run.artifacts import write_text
from adclick.run.provenance import canonical_json

PAPER, LATER, OURS, DIFFERENCE = "paper", "later work", "this run", "difference"
NOT_RUN = "not run"  # configured, and no record of it
PAGE_ROWS = 45  # a LaTeX page holds about this many rows
WIDE_COLUMNS = 10  # a LaTeX table of more columns lies on its side
RANKING = "Best in bold, second best underlined"  # how a table's note on its marks begins
TEXT_RANKING = "Best with *, second best with +"  # the same in plain text
TEXT_WIDTH = 100  # of the lines under a table in plain text, in characters
HTML_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 14px/1.5 system-ui, sans-serif; margin: 1.5rem; color: #222; background: #fff; }}
h1 {{ font-size: 1.1rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }}
th, td {{ padding: 0.15rem 0.6rem; text-align: left; }}
thead tr:first-child th {{ border-top: 2px solid #222; }}
tbody {{ border-bottom: 1px solid #999; }}
thead {{ border-bottom: 1px solid #222; }}
tbody:last-child {{ border-bottom: 2px solid #222; }}
th.group {{ text-align: center; }}
th.group span {{ display: block; border-bottom: 1px solid #222; }}
th.number, td.number {{ text-align: right; }}
.absent {{ text-align: center; color: #666; }}
.ours {{ background: #eef4fa; }}
.later {{ color: #555; font-style: italic; }}
.difference {{ color: #555; font-size: 0.9em; }}
ul {{ padding-left: 1.1rem; max-width: 60rem; }}
li {{ color: #555; }}
</style>
<h1>{title}</h1>
<table>
<thead>
{head}
</thead>
{body}
</table>
<ul>{notes}</ul>
</html>
"""


@dataclass(frozen=True, eq=False)
class Table:
    """One finished table: everything in it is text.

    `rows` has the columns `columns`; `marks`, of the same shape, says `best`, `second` or nothing.
    The first `labels` columns are labels, in a table of the paper up to `Source`; those after them
    are numbers; `AP@5` is the AP after 5 clicks. A table of ours has no `number` but a `key`.
    `setting` is one line on this run, `departures` are its differences in scale.
    """

    number: int | None
    title: str
    columns: tuple[str, ...]
    rows: pd.DataFrame
    marks: pd.DataFrame
    setting: str
    departures: tuple[str, ...]
    notes: tuple[str, ...]
    labels: int | None = None
    key: str = ""

    @property
    def label_count(self) -> int:
        """How many columns are labels."""
        return self.columns.index("Source") + 1 if self.labels is None else self.labels

    @property
    def name(self) -> str:
        """What it is called in print: `Table 1.`; empty for a table of ours."""
        return "" if self.number is None else f"Table {self.number}."

    @property
    def number_count(self) -> int:
        """How many columns are numbers."""
        return len(self.columns) - self.label_count


@dataclass(frozen=True)
class Line:
    """One row as printed: a data set or category that is that of the row above is blank. `absent`:
    nothing of the row was run, which is then said once.
    """

    place: tuple[str, str]
    source: str
    labels: tuple[str, ...]
    numbers: tuple[str, ...]
    absent: bool


def to_csv(table: Table) -> str:
    """Comma-separated text; a last column `Note` has setting and scale beside each own row."""
    frame = table.rows.copy()
    note = "; ".join(filter(None, [table.setting, *table.departures]))
    sources = frame["Source"] if "Source" in frame else [OURS] * len(frame)
    frame["Note"] = [note if source == OURS else "" for source in sources]
    return frame.to_csv(index=False, lineterminator="\n")


def to_markdown(table: Table) -> str:
    """Markdown: best bold, second best underlined."""
    lines = _lines(table, _markdown_text, {"best": "**{}**", "second": "<u>{}</u>"})
    cells = [[_markdown_text(name) for name in table.columns], *_body(table, lines)]
    header, *body = _aligned(cells, table.label_count)
    widths = [len(cell) for cell in header]
    ends = ["-"] * table.label_count + [":"] * table.number_count
    rule = ["-" * (width - 1) + end for width, end in zip(widths, ends, strict=True)]
    title = f"{_markdown_text(table.title)}."
    text = [f"**{table.name}** {title}" if table.name else f"**{title}**", ""]
    text += [f"| {' | '.join(row)} |" for row in [header, rule, *body]]
    text += ["", *(f"- {_markdown_text(note)}" for note in _all_notes(table))]
    return "\n".join(text) + "\n"


def to_text(table: Table) -> str:
    """Plain text for a terminal: best `*`, second best `+`.

    Title, rows and every note are paragraphs, so that a note of many tables can be printed once.
    """
    lines = _lines(table, str, {"best": "{}*", "second": "{}+", "": "{} "})
    rows = _aligned([table.columns, *_body(table, lines)], table.label_count)
    header, *body = ["  ".join(row).rstrip() for row in rows]
    title = f"{table.name} {table.title}.".lstrip()
    rule = "-" * max(map(len, [header, *body]))
    notes = [note.replace(RANKING, TEXT_RANKING) for note in _all_notes(table)]
    wrapped = [textwrap.fill(note, TEXT_WIDTH) for note in notes]
    return "\n\n".join([title, "\n".join([header, rule, *body]), *wrapped]) + "\n"


def _body(table: Table, lines: Iterable[Line]) -> list[list[str]]:
    """The rows as printed, with what was not run said once."""
    once = (NOT_RUN, *[""] * (table.number_count - 1))
    return [[*line.labels, *(once if line.absent else line.numbers)] for line in lines]


def _aligned(rows: Sequence[Sequence[str]], label_count: int) -> list[list[str]]:
    """The cells padded to the widths of their columns: labels stand left, numbers right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        [
            cell.ljust(width) if index < label_count else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]


def to_html(table: Table) -> str:
    """A page of its own with the table and its notes, for the report; marks as in Markdown."""
    lines = _lines(table, html.escape, {"best": "<b>{}</b>", "second": "<u>{}</u>"})
    blocks = [list(block) for _, block in groupby(lines, key=lambda line: line.place)]
    body = ["\n".join(_html_row(line) for line in block) for block in blocks]
    return HTML_PAGE.format(
        title=html.escape(f"{table.name} {table.title}.".lstrip()),
        head="\n".join(_html_head(table)),
        body="\n".join(f"<tbody>\n{rows}\n</tbody>" for rows in body),
        notes="".join(f"<li>{html.escape(note)}</li>" for note in _all_notes(table)),
    )


def to_latex(table: Table) -> str:
    """LaTeX with booktabs rules; longer than a page it is a longtable, a wide one lies on its side.

    Marks as in Markdown.
    """
    marks = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}"}
    once = rf"\multicolumn{{{table.number_count}}}{{c}}{{{NOT_RUN}}}"
    rows: list[str] = []
    for _, block in groupby(_lines(table, _latex_text, marks), key=lambda line: line.place):
        rows += [r"\midrule"] if rows else []
        cells = [[*line.labels, *([once] if line.absent else line.numbers)] for line in block]
        rows += [" & ".join(line) + r" \\" for line in cells]
    notes = [rf"{_latex_text(note)}\par" for note in _all_notes(table)]
    wrap = _latex_pages if len(table.rows) > PAGE_ROWS else _latex_float
    text = wrap(table, _latex_head(table), rows, notes)
    if len(table.columns) > WIDE_COLUMNS:
        text = [r"\begin{landscape}", *text, r"\end{landscape}"]
    return "\n".join([r"% needs \usepackage{booktabs,longtable,pdflscape}", *text]) + "\n"


def _lines(
    table: Table, escape: Callable[[str], str], patterns: Mapping[str, str]
) -> Iterator[Line]:
    above = ("", "")
    rows = zip(table.rows.to_numpy().tolist(), table.marks.to_numpy().tolist(), strict=True)
    for texts, marks in rows:
        cells = [
            patterns.get(mark, "{}").format(escape(text))
            for text, mark in zip(texts, marks, strict=True)
        ]
        place = (texts[0], texts[1])
        if place == above:
            cells[:2] = ["", ""]
        elif place[0] == above[0]:
            cells[0] = ""
        above, split = place, table.label_count
        absent = set(texts[split:]) == {NOT_RUN}
        yield Line(place, texts[split - 1], tuple(cells[:split]), tuple(cells[split:]), absent)


def _all_notes(table: Table) -> list[str]:
    said = {"This run": table.setting, "Not at the paper's scale": "; ".join(table.departures)}
    return [*(f"{name}: {text}." for name, text in said.items() if text), *table.notes]


# All forms of a table by the name that commands and rules have for them.
FORMS: Mapping[str, Callable[[Table], str]] = {
    "csv": to_csv,
    "markdown": to_markdown,
    "latex": to_latex,
    "html": to_html,
    "text": to_text,
}


def _groups(table: Table) -> list[tuple[str, list[str]]]:
    """The number columns by their common heading: `5 clicks`, or nothing."""
    parts = [name.partition("@") for name in table.columns[table.label_count :]]
    return [
        (f"{count} click{'s' * (count != '1')}" if count else "", [name for name, _, _ in group])
        for count, group in groupby(parts, key=lambda part: part[2])
    ]


def _markdown_text(text: str) -> str:
    for character in ("\\", "*", "|", "<"):
        text = text.replace(character, f"\\{character}")
    return text


def _html_head(table: Table) -> list[str]:
    labels, groups = table.columns[: table.label_count], _groups(table)
    grouped = any(heading for heading, _ in groups)
    first = [f"<th rowspan={1 + grouped}>{html.escape(name)}</th>" for name in labels]
    names = [f"<th class=number>{html.escape(name)}</th>" for _, group in groups for name in group]
    if not grouped:
        return [f"<tr>{''.join([*first, *names])}</tr>"]
    first += [
        f"<th class=group colspan={len(group)}><span>{heading}</span></th>"
        for heading, group in groups
    ]
    return [f"<tr>{''.join(first)}</tr>", f"<tr>{''.join(names)}</tr>"]


def _html_row(line: Line) -> str:
    classes = {LATER: "later", OURS: "ours", DIFFERENCE: "difference"}
    looks = f" class={classes[line.source]}" if line.source in classes else ""
    cells = [f"<td>{cell}</td>" for cell in line.labels]
    if line.absent:
        cells.append(f"<td class=absent colspan={len(line.numbers)}>{NOT_RUN}</td>")
    else:
        cells += [f"<td class=number>{cell}</td>" for cell in line.numbers]
    return f"<tr{looks}>{''.join(cells)}</tr>"


LATEX_CHARACTERS = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "±": r"$\pm$",
    }
)


def _latex_text(text: str) -> str:
    escaped = text.translate(LATEX_CHARACTERS)
    return f"${escaped}$" if text[:1] in ("+", "-") and text[1:2].isdigit() else escaped


def _latex_head(table: Table) -> list[str]:
    labels, groups = table.columns[: table.label_count], _groups(table)
    names = [_latex_text(name) for name in labels]
    names += [_latex_text(name) for _, group in groups for name in group]
    head = [" & ".join(names) + r" \\"]
    if any(heading for heading, _ in groups):
        spans = [rf"\multicolumn{{{len(group)}}}{{c}}{{{heading}}}" for heading, group in groups]
        rules, column = "", table.label_count
        for heading, group in groups:
            rules += "" if not heading else rf"\cmidrule(lr){{{column + 1}-{column + len(group)}}}"
            column += len(group)
        head = [" & ".join([*[""] * len(labels), *spans]) + r" \\", rules, *head]
    return [r"\toprule", *head, r"\midrule"]


def _latex_columns(table: Table) -> str:
    return "l" * table.label_count + "r" * table.number_count


def _latex_caption(table: Table) -> str:
    label = table.key or f"table{table.number}"
    return rf"\caption{{{_latex_text(table.title)}.}}\label{{tab:{label}}}"


def _latex_size(table: Table) -> str:
    if len(table.columns) <= WIDE_COLUMNS:
        return r"\small"
    spread = table.number_count > WIDE_COLUMNS and "±" in "".join(table.rows.to_numpy().ravel())
    return rf"\{'tiny' if spread else 'scriptsize'}\setlength{{\tabcolsep}}{{3pt}}"


def _latex_float(
    table: Table, head: Sequence[str], rows: Sequence[str], notes: Sequence[str]
) -> list[str]:
    return [
        r"\begin{table}[htbp]",
        r"\centering",
        _latex_caption(table),
        _latex_size(table),
        rf"\begin{{tabular}}{{{_latex_columns(table)}}}",
        *head,
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip\footnotesize\raggedright",
        *notes,
        r"\end{table}",
    ]


def _latex_pages(
    table: Table, head: Sequence[str], rows: Sequence[str], notes: Sequence[str]
) -> list[str]:
    return [
        r"\begingroup",
        _latex_size(table),
        rf"\begin{{longtable}}{{{_latex_columns(table)}}}",
        _latex_caption(table) + r" \\",
        *head,
        r"\endfirsthead",
        *head,
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
        *rows,
        r"\end{longtable}",
        r"\footnotesize\raggedright",
        *notes,
        r"\endgroup",
    ]


def write_table(table: Table, outputs: Mapping[str, Path], *, stamp: Mapping[str, Any]) -> None:
    """The table in all `FORMS`, and the stamp of all of them beside the CSV."""
    for name, form in FORMS.items():
        write_text(outputs[name], form(table))
    csv = outputs["csv"]
    write_text(csv.with_name(f"{csv.name}.stamp.json"), canonical_json(stamp) + "\n")
