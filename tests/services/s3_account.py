"""An account at an S3 server of a test: address, keys, and buckets made and emptied."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

import boto3
from botocore.config import Config


@dataclass(frozen=True)
class S3Account:
    """Where an S3 server listens and which keys it takes.

    Args:
        endpoint_url: its address.
        access_key: name of the key.
        secret_key: the key.
        region: what to sign for.
    """

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that let boto3 find this account."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_EC2_METADATA_DISABLED": "true",
            # No test is to read what the person who runs it has configured.
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def client(self, service: str = "s3") -> Any:
        """Return a boto3 client with these keys."""
        return _client(self, service)

    def create_bucket(self) -> str:
        """Create an empty bucket and return its name."""
        name = f"test-{secrets.token_hex(6)}"
        self.client().create_bucket(Bucket=name)
        return name

    def empty_bucket(self, name: str) -> None:
        """Delete all that is in a bucket."""
        client = self.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            for found in page.get("Contents", ()):
                client.delete_object(Bucket=name, Key=found["Key"])

    def remove_bucket(self, name: str) -> None:
        """Remove a bucket with all that is in it."""
        self.empty_bucket(name)
        self.client().delete_bucket(Bucket=name)

    @contextlib.contextmanager
    def bucket(self) -> Iterator[str]:
        """Create a bucket for the length of a ``with`` block."""
        name = self.create_bucket()
        try:
            yield name
        finally:
            self.remove_bucket(name)

    def store_url(self, bucket: str, prefix: str = "") -> str:
        """Return the URL that opens a store in a bucket here, given this account's keys."""
        return f"s3://{bucket}/{prefix}?{urlencode({'endpoint_url': self.endpoint_url, 'region': self.region})}"


@lru_cache
def _client(account: S3Account, service: str) -> Any:
    configuration = Config(
        signature_version="s3v4" if service == "s3" else None,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = boto3.session.Session(account.access_key, account.secret_key, region_name=account.region)
    return session.client(service, endpoint_url=account.endpoint_url, config=configuration)
