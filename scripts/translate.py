"""The template in plain CloudFormation, by SAM's own transform. checkov and the tests read this form.

python scripts/translate.py template.yaml
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

REGION = "us-east-1"

# Its warnings are about metrics and feature flags of AWS's own service.
logging.getLogger("samtranslator").setLevel(logging.ERROR)


def translate(path: Path, **parameters: str) -> dict[str, Any]:
    """Return the SAM template at `path` in plain CloudFormation.

    `parameters` become the new defaults. SAM also evaluates them where it needs their values.
    """
    source = yaml_parse(path.read_text(encoding="utf-8"))
    for name, value in parameters.items():
        source["Parameters"][name]["Default"] = value
    # SAM translates packaged templates, whose code is in S3.
    functions = source.get("Globals", {}).get("Function", {})
    for properties in [functions, *(resource.get("Properties", {}) for resource in source["Resources"].values())]:
        for uri in {"CodeUri", "ContentUri", "DefinitionUri"} & properties.keys():
            properties[uri] = f"s3://local/{properties[uri]}"
    # With a map of managed policies, even an empty one, the translator does not ask IAM for it.
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=REGION))
    translated: dict[str, Any] = translator.translate(source, parameter_values=parameters)
    return translated


if __name__ == "__main__":
    sys.stdout.write(json.dumps(translate(Path(sys.argv[1])), indent=1))
