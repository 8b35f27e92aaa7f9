"""The embedded AWS."""

from contextlib import closing

import boto3

from openai_webhooks_cli.local.moto_aws import MotoAws
from openai_webhooks_cli.local.sam_template import REGION


def test_all_hosts_share_port_and_state() -> None:
    with closing(MotoAws(hosts=["127.0.0.1", "127.0.0.2"])) as aws:
        aws.client("sqs").create_queue(QueueName="shared")
        other = boto3.client(
            "sqs",
            endpoint_url=aws.url.replace("127.0.0.1", "127.0.0.2"),
            region_name=REGION,
            aws_access_key_id="a",
            aws_secret_access_key="b",
        )
        with closing(other):
            assert len(other.list_queues()["QueueUrls"]) == 1
