"""The Google providers for Terraform, as one that knows their schemas and nothing else, so that Terraform itself can judge our files
without a registry.

Terraform starts a provider as a process and speaks gRPC with it (protocol 5). To validate a configuration, and to run
tests whose resources are mocked, it asks for the schema and lets the provider object to values; this one never objects.
It cannot plan or make
anything: calls for that are not implemented, and Terraform says so. Source of the protocol:
https://github.com/hashicorp/terraform/blob/main/docs/plugin-protocol/tfplugin5.proto

The process runs alone, outside the test's interpreter path: it imports nothing of this project.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import grpc

PROTOCOL = 5
NESTING = {"single": 1, "list": 2, "set": 3}

PROVIDER_BLOCK = {
    "attributes": {
        "project": {"type": "string", "optional": True},
        "region": {"type": "string", "optional": True},
        "billing_project": {"type": "string", "optional": True},
        "user_project_override": {"type": "bool", "optional": True},
        "default_labels": {"type": ["map", "string"], "optional": True},
    }
}
"""The arguments of the provider itself that we use; the package describes resources only."""


def field(number: int, value: bytes | str | int | bool) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(int(value)) if value else b""
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def block(description: Mapping[str, Any]) -> bytes:
    """``Schema.Block`` of a block in the form of ``terraform providers schema -json``."""
    attributes = b"".join(field(2, attribute(name, one)) for name, one in description.get("attributes", {}).items())
    return attributes + b"".join(
        field(3, nested(name, one)) for name, one in description.get("block_types", {}).items()
    )


def attribute(name: str, one: Mapping[str, Any]) -> bytes:
    """``Schema.Attribute``."""
    modes = ((4, "required"), (5, "optional"), (6, "computed"))
    return (
        field(1, name)
        + field(2, json.dumps(one["type"]))
        + b"".join(field(number, one.get(mode, False)) for number, mode in modes)
    )


def nested(name: str, one: Mapping[str, Any]) -> bytes:
    """``Schema.NestedBlock``."""
    bounds = field(4, one.get("min_items", 0)) + field(5, one.get("max_items", 0))
    return field(1, name) + field(2, block(one["block"])) + field(3, NESTING[one["nesting_mode"]]) + bounds


def schema_response(schema: Mapping[str, Any]) -> bytes:
    """``GetProviderSchema.Response``."""
    answer = field(1, field(2, block(PROVIDER_BLOCK)))
    for number, part in ((2, "resource_schemas"), (3, "data_source_schemas")):
        for kind, one in schema[part].items():
            answer += field(number, field(1, kind) + field(2, field(2, block(one["block"]))))
    return answer


class Calls(grpc.GenericRpcHandler):
    """The calls that are answered.

    Args:
        schema: that of the provider, of ``provider_schema.json``.
        stop: set when Terraform is done.
    """

    def __init__(self, schema: Mapping[str, Any], stop: Event) -> None:
        answer = schema_response(schema)

        def shut_down(_: bytes) -> bytes:
            stop.set()
            return b""

        self._answers: dict[str, Callable[[bytes], bytes]] = {
            "/tfplugin5.Provider/GetSchema": lambda _: answer,
            "/tfplugin5.Provider/PrepareProviderConfig": lambda request: request,  # the configuration as it came
            "/tfplugin5.Provider/ValidateResourceTypeConfig": lambda _: b"",
            "/tfplugin5.Provider/ValidateDataSourceConfig": lambda _: b"",
            "/tfplugin5.Provider/Configure": lambda _: b"",
            "/tfplugin5.Provider/Stop": lambda _: b"",
            "/plugin.GRPCController/Shutdown": shut_down,
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The answer to a call, or None for one that is not implemented."""
        answer = self._answers.get(handler_call_details.method)
        return grpc.unary_unary_rpc_method_handler(lambda request, _: answer(request)) if answer else None


def serve(schema: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Answer on a random port of loopback until Terraform says to stop, or goes away.

    Args:
        schema: that of the provider, of ``provider_schema.json``.
        say: told the line by which Terraform finds the port.
    """
    stop = Event()
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers((Calls(schema, stop),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    say(f"1|{PROTOCOL}|tcp|127.0.0.1:{port}|grpc")
    stop.wait(timeout=300)
    server.stop(grace=None).wait()


def lines(name: str) -> Iterator[str]:
    """What the launcher of a provider is: a script, since Terraform starts a file by its name."""
    yield "#!/bin/sh"
    yield f'exec "{sys.executable}" "{Path(__file__).resolve()}" "{name}"'


if __name__ == "__main__":
    serve(
        json.loads(Path(__file__).with_name("provider_schema.json").read_text(encoding="utf-8"))[sys.argv[1]],
        lambda line: print(line, flush=True),
    )
