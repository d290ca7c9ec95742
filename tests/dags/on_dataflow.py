"""Airflow with Google's Dataflow clients pointed at a service on loopback; all else is stock."""

from typing import Any

import grpc
from airflow.providers.google.cloud.hooks.dataflow import AsyncDataflowHook, DataflowHook
from google.api_core.client_options import ClientOptions
from google.cloud.dataflow_v1beta3 import JobsV1Beta3AsyncClient
from google.cloud.dataflow_v1beta3.services.jobs_v1_beta3.transports import JobsV1Beta3GrpcAsyncIOTransport


def redirect(rest: str, rpc: str) -> None:
    """Make the clients of this process ask another address: neither takes one from the environment.

    Args:
        rest: base URL of the REST service.
        rpc: host and port of the gRPC service.
    """

    async def client(self: Any, kind: type[JobsV1Beta3AsyncClient]) -> JobsV1Beta3AsyncClient:  # noqa: ARG001 - the signature is the hook's
        return kind(transport=JobsV1Beta3GrpcAsyncIOTransport(channel=grpc.aio.insecure_channel(rpc)))

    DataflowHook.get_client_options = lambda *_: ClientOptions(api_endpoint=rest)  # type: ignore[method-assign, assignment]
    AsyncDataflowHook.initialize_client = client  # type: ignore[method-assign]
