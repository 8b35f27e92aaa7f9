"""The errors of the package."""

import ast

import openai_webhooks
from openai_webhooks import WebhookError, errors
from tests.support.paths import ROOT

ERRORS = {
    name: error for name, error in vars(errors).items() if isinstance(error, type) and issubclass(error, Exception)
}
MODULES = sorted((ROOT / "src/openai_webhooks").glob("*.py"))


def test_errors_are_exported_and_have_one_base_class() -> None:
    for name, error in ERRORS.items():
        assert issubclass(error, WebhookError), name
        assert vars(openai_webhooks).get(name) is error, name


def test_package_raises_each_error_and_no_other() -> None:
    nodes = [node for path in MODULES for node in ast.walk(ast.parse(path.read_text()))]
    raised = {ast.unparse(node.exc).partition("(")[0] for node in nodes if isinstance(node, ast.Raise) and node.exc}
    assert raised == ERRORS.keys() - {"WebhookError"}
