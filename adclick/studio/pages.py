"""The pages of the steps: one frame with the way through them, around each step's own part."""

from html import escape
from pathlib import Path

from adclick.annotate.app import STATIC as LABEL_STATIC

STATIC = Path(__file__).parent / "static"
STEPS = {
    "photographs": ("Photographs", "/photographs"),
    "learn": ("Learn", "/learn"),
    "label": ("Label", "/label/"),
    "inspect": ("Inspect", "/inspect"),
    "take": ("Take away", "/take"),
}


def page(step: str) -> str:
    """The page of a step."""
    frame = (STATIC / "frame.html").read_text(encoding="utf-8")
    content = (STATIC / f"{step}.html").read_text(encoding="utf-8")
    title = escape(STEPS[step][0])
    for mark, text in {
        "<!-- title -->": f"{title} - adclick studio",
        "<!-- steps -->": _steps(step),
        "<!-- content -->": content,
        "STEP": step,
    }.items():
        frame = frame.replace(mark, text)
    return frame


def label_page() -> str:
    """The annotation page, with the way through the steps above it."""
    whole = (LABEL_STATIC / "index.html").read_text(encoding="utf-8")
    links = '<link rel="stylesheet" href="/static/steps.css" />\n    '
    links += '<script type="module" src="/static/steps.js"></script>\n  </head>'
    return whole.replace("</head>", links, 1).replace(
        "<body>", f'<body class="in-studio">\n{_steps("label")}', 1
    )


def _steps(current: str) -> str:
    items = []
    for number, (name, (title, address)) in enumerate(STEPS.items(), start=1):
        here = ' aria-current="page"' if name == current else ""
        items.append(
            f'<li><a href="{address}" data-step="{name}"{here}><i aria-hidden="true">{number}</i>'
            f'<span class="title">{title}</span><span class="note"></span></a></li>'
        )
    return (
        '<div id="steps" role="navigation" aria-label="Steps"><b>adclick <span>studio</span></b>'
        f"<ol>{''.join(items)}</ol></div>"
    )
