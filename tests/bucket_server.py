"""S3 on this machine: moto's server, and buckets in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "a-secret-of-s3",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Buckets:
    """A server that answers at `endpoint`."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which botocore finds it."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint}

    def make(self, bucket: str) -> str:
        """A new bucket; its address."""
        self.client().create_bucket(Bucket=bucket)
        return f"s3://{bucket}"

    def keys(self, bucket: str) -> set[str]:
        """Names of all objects in a bucket."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {item["Key"] for page in pages for item in page.get("Contents", ())}

    def client(self):
        import boto3

        return boto3.client(
            "s3", endpoint_url=self.endpoint, region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip


@contextmanager
def serving() -> Iterator[Buckets]:
    """A server that is up in the block."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield Buckets("http://{}:{}".format(*server.get_host_and_port()))
    finally:
        server.stop()
