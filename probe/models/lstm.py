"""The built-in network for series."""

from __future__ import annotations

from torch import Tensor, nn

from probe.errors import TaskError, check_whole
from probe.models.networks import MAX_DEPTH, MAX_WIDTH, check_dropout


class Lstm(nn.Module):
    """Long short-term memory (Hochreiter & Schmidhuber 1997): `num_layers` of `hidden_size` units read a window step by step;
    the last step's units, through one linear layer, are the forecast.

    `residual` adds the window's last value, so that the network learns the change from there: at its start it forecasts
    about what the naive forecast does. Dropout stands between layers and before the linear one.

    (N, steps, columns), the column that is forecast first -> (N, num_outputs).
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, int],
        num_outputs: int,
        hidden_size: int = 64,
        num_layers: int = 1,
        dropout: float = 0.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        check_whole("hidden_size", hidden_size, least=1, most=MAX_WIDTH)
        check_whole("num_layers", num_layers, least=1, most=MAX_DEPTH)
        check_dropout(dropout)
        if not isinstance(residual, bool):
            raise TaskError(f"residual must be true or false, not {residual!r}.")
        _, num_columns = input_shape
        between = dropout if num_layers > 1 else 0.0  # with one layer PyTorch warns of a dropout that has no place
        self.lstm = nn.LSTM(num_columns, hidden_size, num_layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden_size, num_outputs)
        self.residual = residual

    def forward(self, windows: Tensor) -> Tensor:
        states, _ = self.lstm(windows)
        forecast: Tensor = self.output(self.dropout(states[:, -1]))
        return forecast + windows[:, -1, :1] if self.residual else forecast
