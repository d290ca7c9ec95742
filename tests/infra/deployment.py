"""A deployment as Terraform evaluates it: the state of its own test, in which every resource is mocked and every value
is real.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.infra.terraform import Workspace

TEST, SMALL = "tests/deployment.tftest.hcl", "tests/small.tftest.hcl"
"""The tests of both profiles, whose states are read."""


@dataclass(frozen=True)
class Resource:
    """One resource with its values.

    Attributes:
        address: where it is declared, such as ``module.bucket.google_storage_bucket.data``.
        type: such as ``google_storage_bucket``.
        values: arguments and attributes.
    """

    address: str
    type: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Deployment:
    """What an apply would make.

    Attributes:
        resources: all of them.
        outputs: values of the outputs of the root module.
        data: what Terraform looks at and does not make.
    """

    resources: tuple[Resource, ...]
    outputs: Mapping[str, Any]
    data: tuple[Resource, ...] = ()

    def of(self, kind: str) -> list[Resource]:
        """The resources of a type."""
        return [resource for resource in self.resources if resource.type == kind]

    def one(self, address: str) -> Mapping[str, Any]:
        """The values of one resource."""
        (found,) = (resource for resource in self.resources if resource.address == address)
        return found.values


def evaluate(workspace: Workspace, test: str = TEST) -> Deployment:
    """Run Terraform's test of the deployment and read its state.

    Args:
        workspace: the copy.
        test: the file of the test.

    Raises:
        AssertionError: the test failed; the message is Terraform's.
    """
    events = list(workspace.events("test", "-verbose", f"-filter={test}"))
    told = [
        event["diagnostic"]
        for event in events
        if event["type"] == "diagnostic" and event["diagnostic"]["severity"] == "error"
    ]
    states = [event["test_state"] for event in events if event["type"] == "test_state"]
    assert states, "\n".join(f"{one['summary']} {one.get('detail', '')}" for one in told)
    outputs = {name: output["value"] for name, output in states[0]["outputs"].items()}
    root = states[0]["root_module"]
    return Deployment(tuple(_resources(root, "managed")), outputs, tuple(_resources(root, "data")))


def _resources(module: Mapping[str, Any], mode: str) -> Iterator[Resource]:
    for one in module.get("resources", ()):
        if one["mode"] == mode:
            yield Resource(one["address"], one["type"], one["values"])
    for child in module.get("child_modules", ()):
        yield from _resources(child, mode)
