"""The metadata of the Flex Templates, made from the options that the jobs themselves declare, so that the two cannot
drift.

Dataflow checks the parameters of a launch against them, and its console makes a form of them. ``make templates`` writes
one file for each job below ``beam_pipelines/templates/``. Source of the format:
https://cloud.google.com/dataflow/docs/guides/templates/configuring-flex-templates#metadata
"""

import argparse
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipelines.job.options import REQUIRED, CoinbeamOptions
from coinbeam.batch.jobs import JOBS

FOLDER = Path(__file__).parent.parent / "templates"


def metadata(job: str) -> dict[str, Any]:
    """What Dataflow has to know of a job.

    Args:
        job: name of the entry module.
    """
    module = importlib.import_module(f"beam_pipelines.{job}")
    return {
        "name": job,
        "description": JOBS[job].description,
        "parameters": list(parameters((CoinbeamOptions, *module.OPTIONS))),
    }


def parameters(declared: Sequence[type[PipelineOptions]]) -> Iterator[dict[str, Any]]:
    """One parameter for each option, in the order of their declaration."""
    parser = argparse.ArgumentParser(add_help=False)
    for options in declared:
        options._add_argparse_args(parser)  # type: ignore[arg-type]  # any parser will do
    for action in parser._actions:
        yield {
            "name": action.dest,
            "label": action.dest.replace("_", " ").capitalize(),
            "helpText": action.help,
            "isOptional": action.dest not in REQUIRED,
            "paramType": "TEXT",
        }


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
