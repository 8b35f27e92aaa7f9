"""The subscriber's template as CloudFormation gets it: after SAM's own transform."""

from pathlib import Path
from typing import Any

import boto3
import pytest
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

TEMPLATE = Path(__file__).parents[3] / "examples/subscriber/template.yaml"


class Stack:
    def __init__(self, template: dict[str, Any]) -> None:
        self.resources: dict[str, dict[str, Any]] = template["Resources"]

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of the resources of a type, by logical id."""
        return {
            name: resource["Properties"]
            for name, resource in self.resources.items()
            if resource["Type"] == f"AWS::{kind}"
        }

    def properties(self, name: str) -> dict[str, Any]:
        properties: dict[str, Any] = self.resources[name]["Properties"]
        return properties


@pytest.fixture(scope="session")
def stack() -> Stack:
    source = yaml_parse(TEMPLATE.read_text())
    # SAM translates packaged templates, whose code is in S3.
    source["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    # Given a map of managed policies, be it an empty one, the translator doesn't ask IAM for it.
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name="us-east-1"))
    return Stack(translator.translate(source, parameter_values={}))
