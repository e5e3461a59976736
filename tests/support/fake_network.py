"""A network for tests. It shows what a new built-in network has to provide."""

from __future__ import annotations

from torch import Tensor, nn


class Linear(nn.Module):
    def __init__(self, *, num_inputs: int, num_outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(num_inputs, num_outputs, bias=bias)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs)  # type: ignore[no-any-return]  # nn.Module calls are untyped
