"""A kind of data for tests: `fake:PATH`. It shows what a new kind has to provide."""

from __future__ import annotations

import torch

from probe.data.protocol import DataRequest, LoadedData


def load(request: DataRequest) -> LoadedData:
    num_columns = dict(request.params).get("num_columns", 3)
    inputs, classes = torch.randn(20, num_columns), torch.arange(20) % 2
    return LoadedData(
        train=(inputs, classes),
        test=(inputs, classes),
        kind="table",
        num_outputs=2,
        input_shape=(num_columns,),
    )
