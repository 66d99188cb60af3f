"""The JSON schema of the configuration, for editors: `python -m tools.schema` writes it."""

import json
from pathlib import Path

from adclick.run.config import Config

PATH = Path(__file__).parents[1] / "config/schema.json"


def text() -> str:
    return json.dumps(Config.model_json_schema(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
