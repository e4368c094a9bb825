from __future__ import annotations

import torch

from tasks.pretrain.attention import borders
from tasks.pretrain.native import same_document


def test_borders_part_what_the_mask_parts_also_where_a_row_begins_within_a_document() -> None:
    rows = torch.tensor([[0, 1, 2, 0, 0, 1], [7, 8, 0, 1, 2, 3], [3, 4, 5, 6, 7, 8]])
    ends = borders(rows)
    assert ends.dtype == torch.int32 and ends.tolist() == [0, 3, 4, 6, 8, 12, 18]
    document = torch.repeat_interleave(torch.arange(len(ends) - 1), ends.diff()).view_as(rows)
    alike = (document[:, None, :, None] == document[:, None, None, :]).tril()
    assert torch.equal(alike, same_document(rows))
