"""An S3 server on loopback, in memory. It accepts any credentials."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3  # type: ignore[import-untyped]
from moto.server import ThreadedMotoServer

BUCKET = "talkinghead"
REGION = "us-east-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}


@dataclass(frozen=True)
class S3Server:
    """A running server with one bucket.

    Attributes:
        environment: variables that lead the usual clients to it.
        url: for TH_ARTIFACTS_URL.
    """

    environment: dict[str, str]
    url: str = f"s3://{BUCKET}/artifacts"

    def keys(self) -> list[str]:
        """Every object of the bucket."""
        listed = self._client().list_objects_v2(Bucket=BUCKET)
        return [str(entry["Key"]) for entry in listed.get("Contents", ())]

    def put(self, key: str, data: bytes) -> None:
        """Write an object from outside."""
        self._client().put_object(Bucket=BUCKET, Key=key, Body=data)

    def make_bucket(self) -> None:
        """Create the bucket."""
        self._client().create_bucket(Bucket=BUCKET)

    def _client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """Serve until the block ends."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        running = S3Server({**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"})
        running.make_bucket()
        yield running
    finally:
        server.stop()
