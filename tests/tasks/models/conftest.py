"""Models, documents and an evaluation set, all small."""

from tests.tasks.evaluate.conftest import chat_model, classifier_model, docs_dir, evalset, model_dir

__all__ = ["chat_model", "classifier_model", "docs_dir", "evalset", "model_dir"]
