from pathlib import Path

from tasks.formats.model_folder import read_task, write_task


def test_what_a_model_is_for_is_read_back_and_a_folder_that_does_not_say_gives_nothing(tmp_path: Path) -> None:
    assert read_task(tmp_path) == {}
    write_task(tmp_path, {"labels": ("ja", "nein", "größer"), "kind": "classification"})
    assert read_task(tmp_path) == {"kind": "classification", "labels": ["ja", "nein", "größer"]}
