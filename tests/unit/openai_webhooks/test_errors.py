"""The errors of the package."""

import ast

import pytest

import openai_webhooks
from openai_webhooks import WebhookError, errors
from tests.support.paths import ROOT

ERRORS = {
    name: error for name, error in vars(errors).items() if isinstance(error, type) and issubclass(error, Exception)
}
MODULES = sorted((ROOT / "src/openai_webhooks").glob("*.py"))


@pytest.mark.parametrize("name", ERRORS)
def test_error_derives_from_webhook_error(name: str) -> None:
    assert issubclass(ERRORS[name], WebhookError)


@pytest.mark.parametrize("name", ERRORS)
def test_error_is_exported(name: str) -> None:
    assert vars(openai_webhooks).get(name) is ERRORS[name]


def test_package_raises_each_error_and_no_other() -> None:
    nodes = [node for path in MODULES for node in ast.walk(ast.parse(path.read_text()))]
    raised = {ast.unparse(node.exc).partition("(")[0] for node in nodes if isinstance(node, ast.Raise) and node.exc}
    assert raised == ERRORS.keys() - {"WebhookError"}
