"""How a bucket for a farm should be set up: rules as JSON, applied and verified."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from besana.errors import ConfigError, MissingExtraError, StorageError

OLD_VERSION_DAYS = 30
UNFINISHED_DAYS = 7
_TLS_ONLY = "BesanaTlsOnly"
_LIFECYCLE = "besana-old-versions"

PUBLIC_ACCESS = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
ENCRYPTION = {
    "Rules": [
        {
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
            "BucketKeyEnabled": True,
        }
    ]
}
OWNERSHIP = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


@dataclass(frozen=True)
class Place:
    """A bucket and the prefix below which a farm's folders lie.

    Attributes:
        bucket: Name of the bucket.
        prefix: Folder in it with a closing slash, or nothing.
    """

    bucket: str
    prefix: str

    def objects(self, folder: str) -> str:
        """Name the objects below a folder as a policy names them."""
        return f"arn:aws:s3:::{self.bucket}/{self.prefix}{folder}/*"

    @property
    def arn(self) -> str:
        """Name the bucket as a policy names it."""
        return f"arn:aws:s3:::{self.bucket}"


class NotOfferedError(StorageError):
    """A server that speaks S3 has no such rule."""


def place_of(store: str) -> Place:
    """Read bucket and prefix from `store`.

    Raises:
        ConfigError: If it is no bucket of S3.
    """
    parts = urlsplit(store)
    if parts.scheme != "s3":
        raise ConfigError(
            f"'{store}' is no S3 bucket.", 'Write store = "s3://bucket/prefix" in besana.toml.'
        )
    prefix = parts.path.strip("/")
    return Place(parts.netloc, f"{prefix}/" if prefix else "")


def tls_only(place: Place) -> dict[str, Any]:
    """Refuse every request that does not come over TLS."""
    return {
        "Sid": _TLS_ONLY,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [place.arn, f"{place.arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def lifecycle_rule(place: Place) -> dict[str, Any]:
    """Forget old versions and unfinished uploads after some days."""
    return {
        "ID": _LIFECYCLE,
        "Status": "Enabled",
        "Filter": {"Prefix": place.prefix},
        "NoncurrentVersionExpiration": {"NoncurrentDays": OLD_VERSION_DAYS},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_DAYS},
    }


def roles(place: Place) -> dict[str, dict[str, Any]]:
    """Write the rights of each part, no more than it needs.

    `capture` may only add objects below its own name and never replace one; `committer` runs the
    stages but cannot delete; `vacuum` deletes, run by hand; `trainer` only reads.
    """
    work = ["frames", "shards", "datasets", "embeddings", "models", "lake"]
    everything = [place.objects(folder) for folder in work]
    listing = {
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": place.arn,
        "Condition": {"StringLike": {"s3:prefix": [f"{place.prefix}*"]}},
    }
    return {
        "capture": _policy(
            {
                "Effect": "Allow",
                "Action": "s3:PutObject",
                "Resource": place.objects("spool/${aws:username}"),
                "Condition": {"Null": {"s3:if-none-match": "false"}},
            }
        ),
        "committer": _policy(
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
                "Resource": [*everything, place.objects("spool")],
            },
            listing,
            {"Effect": "Deny", "Action": ["s3:DeleteObject*"], "Resource": f"{place.arn}/*"},
        ),
        "vacuum": _policy(
            {"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": everything}, listing
        ),
        "trainer": _policy(
            {
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": [place.objects(f) for f in ("shards", "datasets", "embeddings")],
            }
        ),
    }


def _policy(*statements: Mapping[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def documents(place: Place) -> dict[str, Any]:
    """Give every rule as a document by file name."""
    return {
        "public-access-block.json": PUBLIC_ACCESS,
        "versioning.json": {"Status": "Enabled"},
        "encryption.json": ENCRYPTION,
        "ownership.json": OWNERSHIP,
        "lifecycle.json": {"Rules": [lifecycle_rule(place)]},
        "policy.json": _policy(tls_only(place)),
        **{f"role-{name}.json": policy for name, policy in roles(place).items()},
    }


@dataclass(frozen=True)
class Rule:
    """One rule of a bucket: how it is read, whether that is right, how it is set.

    Attributes:
        title: What it is about.
        holds: Tells whether the bucket keeps it.
        apply: Sets it, keeping what others have set beside it.
    """

    title: str
    holds: Callable[[], bool]
    apply: Callable[[], object]


def rules(place: Place) -> list[Rule]:
    """List the rules of a bucket, each with the client that reads and sets it.

    Raises:
        MissingExtraError: If boto3 is not installed.
    """
    client, name = open_client(), {"Bucket": place.bucket}
    return [
        Rule(
            "public access is blocked",
            lambda: (
                _read(client.get_public_access_block, name, "PublicAccessBlockConfiguration")
                == PUBLIC_ACCESS
            ),
            lambda: client.put_public_access_block(
                **name, PublicAccessBlockConfiguration=PUBLIC_ACCESS
            ),
        ),
        Rule(
            "the owner of the bucket owns every object",
            lambda: (
                _read(client.get_bucket_ownership_controls, name, "OwnershipControls") == OWNERSHIP
            ),
            lambda: client.put_bucket_ownership_controls(**name, OwnershipControls=OWNERSHIP),
        ),
        Rule(
            "old versions are kept",
            lambda: _read(client.get_bucket_versioning, name, "Status") == "Enabled",
            lambda: client.put_bucket_versioning(
                **name, VersioningConfiguration={"Status": "Enabled"}
            ),
        ),
        Rule(
            "objects are encrypted",
            lambda: _is_encrypted(client, name),
            lambda: client.put_bucket_encryption(
                **name, ServerSideEncryptionConfiguration=ENCRYPTION
            ),
        ),
        Rule(
            "requests without TLS are refused",
            lambda: tls_only(place) in _statements(client, name),
            lambda: _add_statement(client, name, tls_only(place)),
        ),
        Rule(
            "old versions and unfinished uploads go after some days",
            lambda: _has_lifecycle(client, name, place),
            lambda: _add_lifecycle(client, name, lifecycle_rule(place)),
        ),
    ]


def open_client() -> Any:
    """Open boto3's client; it reads credentials and endpoint from the environment.

    Raises:
        MissingExtraError: If boto3 is not installed.
    """
    try:
        import boto3
    except ImportError:
        raise MissingExtraError(
            "Setting a bucket up needs boto3.", 'Run: pip install "besana[cloud]"'
        ) from None
    return boto3.client("s3")


def _read(ask: Callable[..., Mapping[str, Any]], name: Mapping[str, str], key: str) -> Any:
    """Ask for one configuration; None where the bucket has none.

    Raises:
        StorageError: If the bucket refused for another reason.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return ask(**name).get(key)
    except ClientError as error:
        code = str(error.response["Error"]["Code"])
        if code.startswith("NoSuch") and code != "NoSuchBucket":
            return None
        if code.endswith("NotFoundError"):
            return None
        if code in ("NotImplemented", "MethodNotAllowed"):
            raise NotOfferedError(f"{name['Bucket']}: this server has no such rule.") from None
        raise StorageError(
            f"{name['Bucket']}: {error}", "Check name, credentials, rights."
        ) from None
    except BotoCoreError as error:
        raise StorageError(f"{name['Bucket']}: {error}", "Check address, credentials.") from None


def _is_encrypted(client: Any, name: Mapping[str, str]) -> bool:
    found = _read(client.get_bucket_encryption, name, "ServerSideEncryptionConfiguration") or {}
    defaults = [r.get("ApplyServerSideEncryptionByDefault", {}) for r in found.get("Rules", [])]
    return any(d.get("SSEAlgorithm") in ("AES256", "aws:kms", "aws:kms:dsse") for d in defaults)


def _statements(client: Any, name: Mapping[str, str]) -> list[dict[str, Any]]:
    text = _read(client.get_bucket_policy, name, "Policy")
    found: list[dict[str, Any]] = json.loads(text)["Statement"] if text else []
    return found


def _add_statement(client: Any, name: Mapping[str, str], statement: Mapping[str, Any]) -> None:
    others = [s for s in _statements(client, name) if s.get("Sid") != statement["Sid"]]
    client.put_bucket_policy(**name, Policy=json.dumps(_policy(*others, statement)))


def _lifecycle(client: Any, name: Mapping[str, str]) -> list[dict[str, Any]]:
    return _read(client.get_bucket_lifecycle_configuration, name, "Rules") or []


def _has_lifecycle(client: Any, name: Mapping[str, str], place: Place) -> bool:
    wanted = lifecycle_rule(place)
    found = [rule for rule in _lifecycle(client, name) if rule.get("ID") == wanted["ID"]]
    return any(all(rule.get(key) == value for key, value in wanted.items()) for rule in found)


def _add_lifecycle(client: Any, name: Mapping[str, str], rule: Mapping[str, Any]) -> None:
    others = [r for r in _lifecycle(client, name) if r.get("ID") != rule["ID"]]
    client.put_bucket_lifecycle_configuration(
        **name, LifecycleConfiguration={"Rules": [*others, rule]}
    )
