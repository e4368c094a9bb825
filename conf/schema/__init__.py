"""The pydantic models behind every option."""
