"""What is special in the template that stores results. examples/tests/ checks what all examples have in common."""

from typing import Final

from examples.tests.support.templates import EXAMPLES, permissions, reached
from openai_webhooks import CATALOG

TEMPLATE: Final = EXAMPLES["batch-results"]
STACK: Final = TEMPLATE.defaults
BUCKET: Final = {"Fn::GetAtt": ["ResultsBucket", "Arn"]}


def test_only_ended_batches_with_results_reach_function() -> None:
    # The stack's own event does not, even if a user gives both events one source.
    types = [*CATALOG, "batch.results.stored"]

    assert {name for name in types if reached(TEMPLATE.at(ResultsSource="openai.com"), name)} == {
        "batch.completed",
        "batch.expired",
        "batch.cancelled",
    }


def test_function_has_least_privilege() -> None:
    allowed = permissions(STACK, "OnBatchEndedFunction")
    objects = {"Fn::Sub": "${ResultsBucket.Arn}/batches/*"}
    conditions = [
        statement["Condition"]
        for policy in STACK.properties("OnBatchEndedFunctionRole")["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Action"] == "events:PutEvents"
    ]

    assert allowed.pop("secretsmanager:GetSecretValue")
    assert allowed == {
        **dict.fromkeys(["s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"], objects),
        **dict.fromkeys(["s3:ListBucket", "s3:ListBucketMultipartUploads"], BUCKET),
        "events:PutEvents": {"Fn::ImportValue": {"Fn::Sub": "${ReceiverStack}-EventBusArn"}},
    }
    assert conditions == [{"StringEquals": {"events:source": {"Ref": "ResultsSource"}}}]


def test_results_are_private_and_outlive_stack() -> None:
    bucket = STACK.properties("ResultsBucket")
    [statement] = STACK.properties("ResultsBucketPolicy")["PolicyDocument"]["Statement"]

    assert list(bucket["PublicAccessBlockConfiguration"].values()) == [True] * 4
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Resource"] == [BUCKET, {"Fn::Sub": "${ResultsBucket.Arn}/*"}]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    for name in ("ResultsBucket", "ResultsBucketPolicy"):
        resource = STACK.resources[name]
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_results_expire_only_on_request() -> None:
    for days, expiration in {"0": [], "30": ["30"]}.items():
        stack = TEMPLATE.at(ResultsRetentionDays=days)
        rules = stack.value(stack.properties("ResultsBucket")["LifecycleConfiguration"]["Rules"])
        unfinished, *results = [rule for rule in rules if rule != "AWS::NoValue"]

        assert unfinished["AbortIncompleteMultipartUpload"], days
        assert "ExpirationInDays" not in unfinished, days
        assert [rule["ExpirationInDays"] for rule in results] == expiration


def test_function_copies_large_files_in_little_memory() -> None:
    function = STACK.properties("OnBatchEndedFunction")

    assert (function["MemorySize"], function["Timeout"]) == (256, 900)
