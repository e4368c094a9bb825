"""The policies for a bucket name each action that the code asks S3 for, and no other."""

from __future__ import annotations

import ast
import json
from functools import cache
from pathlib import Path

import pytest

from tests.test_layout import ROOT, files

ACTION = {
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "put_object": "s3:PutObject",
    "create_multipart_upload": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "delete_object": "s3:DeleteObject",
    "delete_objects": "s3:DeleteObject",
    "list_objects_v2": "s3:ListBucket",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
}
"""What S3 wants to be allowed for an operation (Service Authorization Reference, Amazon S3)."""
READS = {"s3:GetObject", "s3:ListBucket", "s3:ListBucketMultipartUploads"}
OF_BUCKET = {"s3:ListBucket", "s3:ListBucketMultipartUploads"}
"""Asked of the bucket; all others of the objects in it."""


@cache
def known() -> set[str]:
    """The operations of S3 as boto3's client names them."""
    import botocore.session
    from botocore import xform_name

    return {xform_name(name) for name in botocore.session.get_session().get_service_model("s3").operation_names}


def operations(path: Path) -> set[str]:
    """The operations of S3 that a file asks for: methods of boto3's client, and names that a paginator is given."""
    tree = ast.parse(path.read_text())
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    given = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return known() & (called | given)


def policy(who: str) -> dict[str, set[str]]:
    """The allowed actions by resource."""
    found: dict[str, set[str]] = {}
    for statement in json.loads((ROOT / "infra" / "s3" / f"{who}.json").read_text())["Statement"]:
        assert statement["Effect"] == "Allow"
        actions = statement["Action"]
        found.setdefault(statement["Resource"], set()).update([actions] if isinstance(actions, str) else actions)
    return found


@pytest.mark.parametrize(("who", "folder"), [("writer", "tasks"), ("reader", "tasks/collect")])
def test_a_policy_allows_what_the_code_asks_for_and_nothing_else(who: str, folder: str) -> None:
    asked = {ACTION[name] for path in files(folder) for name in operations(path)}
    allowed = set().union(*policy(who).values())
    assert asked <= allowed
    assert allowed == (READS if who == "reader" else asked)


@pytest.mark.parametrize("who", ["writer", "reader"])
def test_actions_stand_beside_what_they_are_asked_of(who: str) -> None:
    for resource, actions in policy(who).items():
        assert actions <= OF_BUCKET if resource == "arn:aws:s3:::BUCKET" else not actions & OF_BUCKET
        assert resource in ("arn:aws:s3:::BUCKET", "arn:aws:s3:::BUCKET/PREFIX*")
