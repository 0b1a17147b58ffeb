"""What S3's errors mean, and what to do about each."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSLError,
    TokenRetrievalError,
)

_KEYS = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile: s3://…?profile=NAME."
_RIGHTS = "Allow these keys s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject, s3:DeleteObject in it."
_MAKE_IT = "Create it (aws s3 mb s3://{bucket}), or correct the name in FAAS_STORE."
_NAME_REGION = "The bucket is in another region: name it, as s3://…?region=…."
_FIXES = {
    "NoSuchBucket": _MAKE_IT,
    "404": _MAKE_IT,
    "InvalidBucketName": "Correct the name in FAAS_STORE: s3://bucket/prefix.",
    "InvalidAccessKeyId": f"The store does not know this access key. {_KEYS}",
    "SignatureDoesNotMatch": f"The secret key does not fit the access key. {_KEYS}",
    "ExpiredToken": f"The temporary keys have expired; get new ones. {_KEYS}",
    "InvalidToken": f"The session token is wrong; get new keys. {_KEYS}",
    "AccessDenied": _RIGHTS,
    "403": _RIGHTS,
    "RequestTimeTooSkewed": "Set this machine's clock; it differs from the store's by more than 15 minutes.",
    "PermanentRedirect": _NAME_REGION,
    "AuthorizationHeaderMalformed": _NAME_REGION,
    "IllegalLocationConstraintException": _NAME_REGION,
    "QuotaExceeded": "The store's quota is used up: raise it, or shorten the retention of results.",
    "SlowDown": "The store is busy; try again later.",
}
_TRY_AGAIN = "Try again later, or ask the store's operator."


def explain(error: BotoCoreError | ClientError, store: str, bucket: str, endpoint: str) -> str:
    """Say what went wrong and what to do about it.

    Args:
        error: what boto3 raised.
        store: the store's URL.
        bucket: its bucket.
        endpoint: the address boto3 talked to.

    Returns:
        One or two sentences.
    """
    if isinstance(error, ClientError):
        answer = error.response.get("Error", {})
        code = str(answer.get("Code", "unknown"))
        message = str(answer.get("Message") or "").strip().rstrip(".")
        said = f"{code}: {message}" if message and message != code else code
        fix = _FIXES.get(code, _TRY_AGAIN).format(bucket=bucket)
        return f"The store {store} at {endpoint} refused {error.operation_name} ({said}). {fix}"
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return f"There are no complete keys for the store {store}. {_KEYS}"
    if isinstance(error, (CredentialRetrievalError, TokenRetrievalError)):
        return f"The keys for the store {store} could not be fetched: {error}. {_KEYS}"
    if isinstance(error, ParamValidationError):
        return f"The store {store} cannot exist: {error} Correct the name in FAAS_STORE: s3://bucket/prefix."
    if isinstance(error, SSLError):
        return (
            f"The certificate of the store {store} at {endpoint} was not accepted: {error}. "
            "Name the certificate authority's file in AWS_CA_BUNDLE."
        )
    if isinstance(error, (ConnectionError, HTTPClientError)):
        return (
            f"The store {store} does not answer at {endpoint}: {error}. "
            "Start it, or correct the address: AWS_ENDPOINT_URL or s3://…?endpoint_url=…."
        )
    return f"The store {store} at {endpoint} cannot be used: {error}. {_TRY_AGAIN}"
