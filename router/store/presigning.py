"""Presigned URLs for S3, with botocore's signer and without the rest of botocore, which takes three times as long."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import NoCredentialsError

from router.store.protocol import SignedURL, Verb

LONGEST_S = 7 * 24 * 3600
"""S3 refuses URLs that live longer."""
_PROBE = "probe"


class Presigner:
    """Signs URLs for the objects of one bucket.

    How the bucket is addressed and for which region is signed is botocore's decision; it is read, once,
    from a URL that botocore made.

    Args:
        client: boto3's S3 client.
        credentials: what boto3 found, None if nothing.
        bucket: the bucket.
    """

    def __init__(self, client: Any, credentials: Any, bucket: str) -> None:
        self._client = client
        self._credentials = credentials
        self._bucket = bucket
        self._base = ""
        self._region = ""

    def may_block(self) -> bool:
        """Tell whether the next signature may have to fetch new temporary keys, or to load anything else."""
        refresh_needed = getattr(self._credentials, "refresh_needed", None)
        return not self._base or (refresh_needed is not None and bool(refresh_needed()))

    def sign(
        self, name: str, verb: Verb, now: float, expires_s: float, size_bytes: int | None, query: str = ""
    ) -> SignedURL:
        """Sign a URL.

        Args:
            name: the object's name in the bucket, prefix included.
            verb: GET or PUT.
            now: the time, seconds since the epoch.
            expires_s: life time, at most ``LONGEST_S``.
            size_bytes: signed as Content-Length, so that an upload of any other length is refused.
            query: parameters of the operation, encoded.

        Raises:
            NoCredentialsError: boto3 found no keys.
        """
        if self._credentials is None:
            raise NoCredentialsError
        if not self._base:
            self._learn()
        lifetime_s = max(1, min(int(expires_s), LONGEST_S))
        headers = {} if size_bytes is None else {"Content-Length": str(size_bytes)}
        url = self._base + quote(name, safe="/~") + (f"?{query}" if query else "")
        request = AWSRequest(method=verb, url=url, headers=headers)
        credentials = self._credentials.get_frozen_credentials()
        S3SigV4QueryAuth(credentials, "s3", self._region, lifetime_s).add_auth(request)
        return SignedURL(request.url, headers, now + lifetime_s)

    def _learn(self) -> None:
        url = self._client.generate_presigned_url("get_object", Params={"Bucket": self._bucket, "Key": _PROBE})
        # The credential reads key/date/region/service/aws4_request.
        self._region = parse_qs(urlsplit(url).query)["X-Amz-Credential"][0].split("/")[-3]
        self._base = url.partition("?")[0].removesuffix(_PROBE)
