"""Training is tested with pretraining's jobs."""

from tests.tasks.pretrain.conftest import alone, make_job, on_s3, root, s3_server, shards

__all__ = ["alone", "make_job", "on_s3", "root", "s3_server", "shards"]
