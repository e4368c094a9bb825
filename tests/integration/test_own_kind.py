"""A kind of models that another distribution brings: from the recipe to the registry, the pages and the command."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.core.services import prefect_api
from tests.pipeline_process import House, Plan, Result

OWN = Path(__file__).parents[1] / "own_kind"
MODEL = "models.common={kind: common_label, start: base, register: tiny-common, data: {sources: [packages]}}"
LOAD = """
import json, mlflow
model = mlflow.pyfunc.load_model("models:/tiny-common@champion")
print(json.dumps(model.predict(["Return the", "This"]).to_dict("list")))
"""


@dataclass(frozen=True)
class Owner:
    """A house in which another distribution is installed, which brings a kind."""

    house: House
    where: Path

    def env(self) -> dict[str, str]:
        return {"PYTHONPATH": os.pathsep.join([str(self.house.tree), str(self.where)])}

    def run(self, *words: str) -> Result:
        return self.house.run(MODEL, *words, env=self.env())

    def plan(self, *words: str) -> Plan:
        found = self.house.start("plan", str(self.house.recipe), MODEL, *words, "--json", env=self.env()).wait()
        return Plan(found.json["steps"])

    def say(self, *words: str) -> Result:
        return self.house.start(*words, env=self.env()).wait()


@pytest.fixture
def owner(house: House, tmp_path: Path) -> Owner:
    where = tmp_path / "installed"
    shutil.copytree(OWN, where, ignore=shutil.ignore_patterns("__pycache__"))
    about = where / "own_kind-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own-kind\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[fromzero.models]\ncommon_label = common_label\n")
    return Owner(house, where)


def test_a_kind_from_elsewhere_goes_all_the_way_with_no_file_of_the_project_touched(
    owner: Owner, prefect_url: str
) -> None:
    house = owner.house
    assert house.run(MODEL, code=2).err.count("there is no 'common_label'") == 1, "without it the kind is unknown"
    assert set(owner.plan().to("run")) == {"count_labels"}
    ran = owner.run()
    assert ran.made() == {"count_labels", "evaluate_common_label", "register_model", "gate", "promote_model"}
    record = ran.json
    (made,) = [model for model in record["models"] if model["name"] == "tiny-common"]
    assert (made["kind"], made["aliases"]) == ("common_label", ["champion"])
    hits = record["metrics"]["evaluate_common_label"]["hits"]
    assert 0 < hits <= 1

    assert owner.plan().hits() and owner.run().made() == set()
    told = json.loads(owner.say("predict", "tiny-common@champion", "anything", "--json").out)
    assert [row["label"] for row in told] == ["networkx"]
    report = Path(record["urls"]["report"]).read_text()
    assert "tiny-common" in report and "hits" in report
    pages = prefect_api.ask(prefect_url, "artifacts/filter", {"artifacts": {"type": {"any_": ["markdown"]}}})
    shown = {page["key"]: page["data"] for page in pages}
    assert "hits" in shown["tiny-evaluate-common-label"]
    assert "fromzero predict tiny-common@champion" in shown["tiny-promote-tiny-common"]
