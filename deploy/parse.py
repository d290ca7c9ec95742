"""Parses a DAG folder as Airflow does and prints the result as JSON; run by its path with Airflow's interpreter."""

import importlib
import json
import sys

MARK = "PARSED "


def main(folder: str, *packages: str) -> None:
    """Print the DAGs, the errors, and the modules of our packages that did not come from a release in the folder."""
    # By name: this package does not depend on Airflow. The script is a guest of the one that runs it.
    bag = importlib.import_module("airflow.dag_processing.dagbag").DagBag(folder)
    ours = {
        name: str(getattr(module, "__file__", ""))
        for name, module in sys.modules.items()
        if name.partition(".")[0] in packages
    }
    strangers = sorted(name for name, file in ours.items() if not file.startswith(f"{folder}/coinbeam_releases/"))
    found = {"dags": sorted(bag.dags), "errors": bag.import_errors, "strangers": strangers}
    sys.stdout.write(f"{MARK}{json.dumps(found)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
