"""What an image holds, as a bill of materials in the form of CycloneDX 1.6: its Debian packages and its Python ones.

Runs inside of the image, by its own interpreter and with nothing but the standard library: ``docker run --interactive
--entrypoint python IMAGE - IMAGE < deploy/sbom.py``. The same image gives the same bytes.

Source: https://cyclonedx.org/docs/1.6/json/
"""

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

Component = dict[str, str]


def python_packages() -> list[Component]:
    """The distributions that the interpreter finds."""
    found = {(re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower(), one.version) for one in distributions()}
    return [_component(name, version, f"pkg:pypi/{name}@{quote(version)}") for name, version in sorted(found)]


def debian_packages() -> list[Component]:
    """The packages that are installed, where the system is Debian's."""
    if shutil.which("dpkg-query") is None:
        return []
    form = "${db:Status-Abbrev} ${Package} ${Version} ${Architecture}\\n"
    listed = subprocess.run(["dpkg-query", "-W", "-f", form], capture_output=True, text=True, check=True)
    rows = sorted(line.split()[1:] for line in listed.stdout.splitlines() if line.startswith("ii"))
    return [
        _component(name, version, f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}")
        for name, version, architecture in rows
    ]


def _component(name: str, version: str, url: str) -> Component:
    return {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}


def bill(image: str) -> dict[str, object]:
    """The bill of materials of the image in which this runs."""
    components = [*debian_packages(), *python_packages()]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, json.dumps([image, components]))}",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": image, "name": image}},
        "components": components,
    }


if __name__ == "__main__":
    json.dump(bill(sys.argv[1]), sys.stdout, indent=1)
    sys.stdout.write("\n")
