"""The metadata of the Flex Templates, made from the options that the jobs themselves declare, so that the two cannot
drift.

Dataflow checks the parameters of a launch against them, and its console makes a form of them. ``make templates`` writes
one file for each job below ``beam_pipelines/templates/``. Source of the format:
https://cloud.google.com/dataflow/docs/guides/templates/configuring-flex-templates#metadata
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coinbeam.batch.jobs import JOBS

STREAMED_BY = "subscription"
"""The option with which a job streams; it is a batch without."""

FOLDER = Path(__file__).parent.parent / "templates"


def metadata(job: str) -> dict[str, Any]:
    """What Dataflow has to know of a job: one parameter for each option, in the order of their declaration."""
    spec = JOBS[job]
    parameters = [
        {
            "name": name,
            "label": name.replace("_", " ").capitalize(),
            "helpText": field.description,
            "isOptional": not field.is_required(),
            "paramType": "TEXT",
        }
        for name, field in spec.options.model_fields.items()
    ]
    streams = {"streaming": True} if STREAMED_BY in spec.options.model_fields else {}
    return {"name": job, "description": spec.description, **streams, "parameters": parameters}


def text(job: str) -> str:
    """The file of a job."""
    return json.dumps(metadata(job), indent=2, ensure_ascii=False) + "\n"


def main(argv: Sequence[str]) -> int:
    """Write the files, or with no ``--write`` print them."""
    for job in JOBS:
        if "--write" in argv:
            FOLDER.mkdir(exist_ok=True)
            (FOLDER / f"{job}.json").write_text(text(job), encoding="utf-8")
        else:
            sys.stdout.write(text(job))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
