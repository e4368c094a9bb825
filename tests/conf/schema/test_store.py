"""The options of the store."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from conf.schema.store import LocalStoreConf, S3StoreConf, StoreConf

READ: TypeAdapter[Any] = TypeAdapter(StoreConf)


def test_the_kind_chooses_the_options() -> None:
    assert READ.validate_python({"kind": "local"}) == LocalStoreConf(kind="local", path=None)
    assert isinstance(READ.validate_python({"kind": "s3", "bucket": "models"}), S3StoreConf)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kind": "s3"},
        {"kind": "s3", "bucket": "ab"},
        {"kind": "s3", "bucket": "models", "lease_seconds": 29},
        {"kind": "s3", "bucket": "models", "part_mb": 4},
        {"kind": "s3", "bucket": "models", "endpoint": "localhost:9000"},
        {"kind": "s3", "bucket": "models", "path": "store"},
        {"kind": "local", "path": ""},
        {"kind": "local", "bucket": "models"},
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        READ.validate_python(options)


def test_every_option_has_a_docstring() -> None:
    for model in (LocalStoreConf, S3StoreConf):
        assert all(field.description for field in model.model_fields.values())
