"""The JSON Schemas: they accept what OpenAI sends, and refuse what the classes refuse."""

import json
from pathlib import Path
from typing import Any, get_args

import yaml
from jsonschema import Draft4Validator
from openai.types import webhooks
from pydantic import BaseModel
from typer.testing import CliRunner

from openai_webhooks import CATALOG, parse
from openai_webhooks_cli import samples, schemas
from openai_webhooks_cli.main import app
from tests.support.paths import ROOT

MAX_TEMPLATE_BYTES = 51_200
"""A template that `aws cloudformation deploy` sends without a bucket."""


def errors(event_type: str, event: Any) -> list[str]:
    """Return what the schema of a type says against an event."""
    return [error.message for error in Draft4Validator(schemas.schema(event_type)).iter_errors(event)]


def test_schemas_accept_instances_of_sdk() -> None:
    events = [
        (sdk_class, event_type)
        for sdk_class in vars(webhooks).values()
        if isinstance(sdk_class, type) and issubclass(sdk_class, BaseModel) and "type" in sdk_class.model_fields
        for event_type in get_args(sdk_class.model_fields["type"].annotation)
        if event_type in CATALOG
    ]
    for sdk_class, event_type in events:
        instance = sdk_class.model_validate(samples.sample(event_type, created_at=1_750_861_210))

        assert errors(event_type, json.loads(instance.model_dump_json())) == [], sdk_class
    # The SDK has no classes for videos.
    assert {event_type for _, event_type in events} == {name for name in CATALOG if not name.startswith("video.")}


def test_schemas_accept_new_fields_and_refuse_what_classes_refuse() -> None:
    for event_type in CATALOG:
        Draft4Validator.check_schema(schemas.schema(event_type))
        sample = samples.sample(event_type, created_at=1_750_861_210)
        drifted: list[dict[str, Any]] = [
            {**sample, "created_at": "1750861210"},
            {**sample, "type": "another.type"},
            {**sample, "data": None},
            {key: value for key, value in sample.items() if key != "id"},
        ]

        assert errors(event_type, sample) == []
        assert errors(event_type, {**sample, "new": 1, "data": {**sample["data"], "new": [1]}}) == []
        for event in drifted:
            assert errors(event_type, event), event
            assert event["type"] != event_type or parse(event).drift


def test_command_prints_schema_of_one_type() -> None:
    printed = CliRunner().invoke(app, ["events", "batch.completed", "--schema"])
    without_type = CliRunner().invoke(app, ["events", "--schema"])

    assert json.loads(printed.stdout) == schemas.schema("batch.completed")
    assert without_type.exit_code != 0
    assert "events TYPE --schema" in without_type.output


def test_files_are_current(tmp_path: Path) -> None:
    schemas.write_schemas(tmp_path)

    written = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert written == {file.name: file.read_text() for file in (ROOT / "schemas").iterdir()}, "run `make generate`"


def test_template_has_schema_of_event_on_bus() -> None:
    text = (ROOT / "schemas/template.yaml").read_text()
    resources = yaml.safe_load(text.replace("!GetAtt ", "").replace("!Ref ", ""))["Resources"]
    contents = {
        r["Properties"]["SchemaName"].partition("@")[2]: json.loads(r["Properties"]["Content"])
        for r in resources.values()
        if r["Type"] == "AWS::EventSchemas::Schema"
    }

    assert contents.keys() == CATALOG.keys()
    assert len(text.encode()) < MAX_TEMPLATE_BYTES
    for event_type, content in contents.items():
        detail = samples.sample(event_type, created_at=1_750_861_210)
        event = {"id": "1", "source": "openai.com", "detail-type": event_type, "time": "2026-11-24T08:00:00Z"}
        Draft4Validator.check_schema(content)
        Draft4Validator(content).validate({**event, "detail": detail})
        assert not Draft4Validator(content).is_valid({**event, "detail": {**detail, "id": 1}})
