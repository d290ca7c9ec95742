"""What a call may ask for: names, limits, and what is not built.

Sources: the descriptions of the fields in ``google.pubsub.v1``, and https://cloud.google.com/pubsub/quotas.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import types

from local.pubsub.filters import Filter, FilterError, parse
from local.pubsub.refusal import invalid, not_built

MOST_BYTES, MOST_MESSAGES = 10_000_000, 1_000
"""Of one publish request; bytes also of one message."""

MOST_PULLED = 1_000

DELETED_TOPIC = "_deleted-topic_"
"""The topic of a subscription or a snapshot whose topic was deleted."""

WEEK = 7 * 86_400
"""Seconds for which a subscription keeps messages when it does not say, and a snapshot at most."""

_MINUTE, _DAY = 60, 86_400
_NAME = re.compile(
    r"projects/[a-z0-9:.-]{1,100}/(?P<kind>topics|subscriptions|snapshots)/(?!goog)[A-Za-z][A-Za-z0-9_.~+%-]{2,254}"
)
_PLAIN_BYTES = 256
"""A message with no more bytes than this beside its data can break no limit of attributes."""

_UNBUILT_TOPIC = ("schema_settings", "kms_key_name", "ingestion_data_source_settings", "message_transforms")
_UNBUILT_SUBSCRIPTION = (
    "enable_message_ordering",
    "enable_exactly_once_delivery",
    "bigquery_config",
    "bigtable_config",
    "dead_letter_policy",
    "retry_policy",
    "message_transforms",
)
_CHANGEABLE = {
    "topic": {"labels", "message_retention_duration"},
    "subscription": {
        "ack_deadline_seconds",
        "cloud_storage_config",
        "expiration_policy",
        "labels",
        "message_retention_duration",
        "retain_acked_messages",
    },
}


def check_name(name: str, kind: str) -> None:
    """Refuse what is no name of a topic, subscription or snapshot.

    Raises:
        RefusedError: it is none.
    """
    found = _NAME.fullmatch(name)
    if not found or found["kind"] != kind:
        raise invalid(f"Invalid [{kind}] name: (name={name[:300]}). Write projects/PROJECT/{kind}/NAME.")


def checked_topic(given: Any) -> Any:
    """A topic as it was asked for.

    Raises:
        RefusedError: something in it is wrong, or is not built.
    """
    check_name(given.name, "topics")
    _refuse_unbuilt(given, _UNBUILT_TOPIC)
    _check_seconds(given, "message_retention_duration", 10 * _MINUTE, 31 * _DAY)
    return given


def checked_subscription(given: Any) -> Any:
    """A subscription with what it left out.

    Raises:
        RefusedError: something in it is wrong, or is not built.
    """
    check_name(given.name, "subscriptions")
    _refuse_unbuilt(given, _UNBUILT_SUBSCRIPTION)
    if given.push_config.push_endpoint:
        raise not_built("The local Pub/Sub has no push_config. Leave it out, or use Google's service.")
    if given.expiration_policy.HasField("ttl"):
        raise not_built("Subscriptions of the local Pub/Sub do not expire. Leave expiration_policy.ttl out.")
    if given.HasField("cloud_storage_config"):
        _complete_files(given)
    given.ack_deadline_seconds = given.ack_deadline_seconds or 10
    check_deadline(given.ack_deadline_seconds, least=10)
    if not given.HasField("message_retention_duration"):
        given.message_retention_duration.FromSeconds(WEEK)
    _check_seconds(given, "message_retention_duration", 10 * _MINUTE, 31 * _DAY)
    return given


def _complete_files(given: Any) -> None:
    """Check what a subscription says of its files, and fill in what it leaves out."""
    config = given.cloud_storage_config
    if not config.bucket or config.bucket.startswith("gs://"):
        raise invalid(f"cloud_storage_config.bucket is {config.bucket!r}. Write its name alone, without gs://.")
    if config.HasField("avro_config"):
        raise not_built("The local Pub/Sub writes text only. Leave cloud_storage_config.avro_config out.")
    if config.filename_suffix.endswith("/"):
        raise invalid("cloud_storage_config.filename_suffix ends in a slash.")
    config.text_config.SetInParent()
    config.state = types.CloudStorageConfig.State.ACTIVE
    if not config.HasField("max_duration"):
        config.max_duration.FromSeconds(5 * _MINUTE)
    _check_seconds(config, "max_duration", _MINUTE, 10 * _MINUTE)
    if config.max_bytes and not 1_000 <= config.max_bytes <= 10 << 30:
        raise invalid(f"cloud_storage_config.max_bytes is {config.max_bytes}, not 1 KB to 10 GiB.")
    if config.max_messages and config.max_messages < 1_000:
        raise invalid(f"cloud_storage_config.max_messages is {config.max_messages}, less than 1000.")
    longest = config.max_duration.ToSeconds()
    given.ack_deadline_seconds = given.ack_deadline_seconds or longest
    if longest > given.ack_deadline_seconds:
        raise invalid(
            f"cloud_storage_config.max_duration is {longest} s, more than ack_deadline_seconds, which is "
            f"{given.ack_deadline_seconds}."
        )


def checked_filter(text: str) -> Filter:
    """The filter of a subscription.

    Raises:
        RefusedError: the text is none.
    """
    try:
        return parse(text)
    except FilterError as error:
        raise invalid(f"The filter is wrong: {error}.") from error


def changed(kind: str, held: Any, given: Any, mask: FieldMask) -> Any:
    """A topic or a subscription with the fields of a mask changed.

    Args:
        kind: ``topic`` or ``subscription``.

    Raises:
        RefusedError: the mask names nothing, or what cannot be changed.
    """
    fields = {path.partition(".")[0] for path in mask.paths}
    if not fields:
        raise invalid("The update_mask must name a field.")
    if refused := sorted(fields - _CHANGEABLE[kind]):
        raise invalid(f"{', '.join(refused)} of a {kind} cannot be changed. Make another one.")
    result = type(held)()
    result.CopyFrom(held)
    FieldMask(paths=sorted(fields)).MergeMessage(given, result, True, True)
    return result


def check_deadline(seconds: int, least: int = 0) -> None:
    """Refuse a deadline that is out of range.

    Raises:
        RefusedError: so it is.
    """
    if not least <= seconds <= 10 * _MINUTE:
        raise invalid(f"An acknowledgement deadline of {seconds} s is not {least} to {10 * _MINUTE}.")


def check_messages(messages: Sequence[Any]) -> None:
    """Refuse a publish that is too large, or has a message that says nothing.

    Raises:
        RefusedError: so it is.
    """
    if not 0 < len(messages) <= MOST_MESSAGES:
        raise invalid(f"The request has {len(messages)} messages, not 1 to {MOST_MESSAGES}.")
    total = 0
    for message in messages:
        size, data = message.ByteSize(), len(message.data)
        total += size
        if size - data > _PLAIN_BYTES:
            _check_attributes(message.attributes)
        elif not data and not message.attributes:
            raise invalid("A message has neither data nor attributes.")
    if total > MOST_BYTES:
        raise invalid(f"The request has {total} bytes, more than {MOST_BYTES}.")


def _check_attributes(attributes: Any) -> None:
    if len(attributes) > 100:
        raise invalid(f"A message has {len(attributes)} attributes, more than 100.")
    for key, value in attributes.items():
        if len(key.encode()) > 256 or len(value.encode()) > 1_024:
            raise invalid(f"The attribute {key[:80]!r} is longer than 256 bytes, or its value than 1024.")


def _refuse_unbuilt(given: Any, names: Iterable[str]) -> None:
    is_set = {field.name for field, _ in given.ListFields()}
    if asked := [name for name in names if name in is_set]:
        raise not_built(f"The local Pub/Sub has no {', '.join(asked)}. Leave it out, or use Google's service.")


def _check_seconds(given: Any, name: str, least: int, most: int) -> None:
    """Refuse a duration that is given and out of range."""
    duration: Duration = getattr(given, name)
    if given.HasField(name) and not least <= duration.ToNanoseconds() / 1e9 <= most:
        raise invalid(f"{name} is {duration.ToNanoseconds() / 1e9:g} s, not {least} to {most}.")
