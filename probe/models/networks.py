"""The built-in networks `mlp`, `cnn` and `lstm`. Their keywords are hyperparameters that a recipe may search."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from probe.limits import check_values
from probe.models.hyperparameters import CNN, LSTM, MLP

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
}


class Mlp(nn.Module):
    """A multilayer perceptron: `depth` hidden layers of `width` units, each followed by normalization, activation and dropout.

    Inputs (N, ...), such as images (N, C, H, W), are flattened; outputs are (N, num_outputs).
    """

    def __init__(
        self,
        *,
        num_inputs: int,
        num_outputs: int,
        depth: int = 2,
        width: int = 128,
        activation: str = "relu",
        dropout: float = 0.0,
        normalization: str = "none",
        initialization: str = "default",
    ) -> None:
        super().__init__()
        check_values(
            MLP,
            depth=depth,
            width=width,
            activation=activation,
            dropout=dropout,
            normalization=normalization,
            initialization=initialization,
        )
        layers: list[nn.Module] = [nn.Flatten()]
        size = num_inputs
        for _ in range(depth):
            layers += [nn.Linear(size, width), *norm_of_units(normalization, width), ACTIVATIONS[activation]()]
            layers += [nn.Dropout(dropout)] if dropout else []
            size = width
        layers.append(nn.Linear(size, num_outputs))
        self.layers = nn.Sequential(*layers)
        initialize(self, initialization, activation)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)  # type: ignore[no-any-return]  # nn.Module calls are untyped


class Cnn(nn.Module):
    """A small convolutional network: `layers` convolutions, a dense layer of `hidden` units, and the output layer.

    The first convolution has `width` channels, and each further one twice as many as the one before. Every convolution keeps
    height and width and is followed by normalization, 2 x 2 max pooling and activation. Pooling is skipped once a side has one
    pixel, so 8 x 8 images allow all four layers. Dropout comes before both dense layers (Srivastava et al. 2014). Images
    (N, C, H, W) give outputs (N, num_outputs).
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        layers: int = 2,
        width: int = 16,
        kernel_size: int = 3,
        activation: str = "relu",
        dropout: float = 0.0,
        normalization: str = "none",
        initialization: str = "default",
        hidden: int = 64,
    ) -> None:
        super().__init__()
        check_values(
            CNN,
            layers=layers,
            width=width,
            kernel_size=kernel_size,
            activation=activation,
            dropout=dropout,
            normalization=normalization,
            initialization=initialization,
            hidden=hidden,
        )
        channels, height, side = input_shape
        convolutions: list[nn.Module] = []
        for layer in range(layers):
            wide = width * 2**layer
            convolutions.append(nn.Conv2d(channels, wide, kernel_size, padding=kernel_size // 2))
            convolutions += _norm_of_channels(normalization, wide)
            # Pooling first: with a monotonic activation the result is the same, for a quarter of the work.
            if min(height, side) >= 2:
                convolutions.append(nn.MaxPool2d(2))
                height, side = height // 2, side // 2
            convolutions.append(ACTIVATIONS[activation]())
            channels = wide
        drop: list[nn.Module] = [nn.Dropout(dropout)] if dropout else []
        dense = [nn.Flatten(), *drop, nn.Linear(channels * height * side, hidden), ACTIVATIONS[activation]()]
        self.convolutions = nn.Sequential(*convolutions)
        self.dense = nn.Sequential(*dense, *drop, nn.Linear(hidden, num_outputs))
        initialize(self, initialization, activation)
        # On a CPU, channels last trains these networks 1.5 to 2.5 times as fast.
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        return self.dense(self.convolutions(images))  # type: ignore[no-any-return]  # nn.Module calls are untyped


class Lstm(nn.Module):
    """Long short-term memory (Hochreiter & Schmidhuber 1997): `num_layers` layers of `hidden_size` units read a window step by
    step, and a linear layer computes the forecast from the last step.

    With `residual`, the last value of the window is added to the output, so that the network learns the change from it and
    starts close to the naive forecast. Dropout is applied between layers and before the linear layer.

    Windows (N, steps, columns), with the forecast column first, give outputs (N, num_outputs).
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
        check_values(LSTM, hidden_size=hidden_size, num_layers=num_layers, dropout=dropout, residual=residual)
        _, num_columns = input_shape
        between = dropout if num_layers > 1 else 0.0  # PyTorch warns of dropout between the layers of a single one
        self.lstm = nn.LSTM(num_columns, hidden_size, num_layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden_size, num_outputs)
        self.residual = residual

    def forward(self, windows: Tensor) -> Tensor:
        states, _ = self.lstm(windows)
        forecast: Tensor = self.output(self.dropout(states[:, -1]))
        return forecast + windows[:, -1, :1] if self.residual else forecast


def initialize(model: nn.Module, name: str, activation: str) -> None:
    """Initialize all linear layers and convolutions of `model`, with biases of zero. `default` keeps PyTorch's initialization.

    Args:
        model: the model, changed in place.
        name: `default`, `kaiming` (normal, variance 2 / fan-in; He et al. 2015), `xavier` (uniform; Glorot & Bengio 2010) or
            `orthogonal` (Saxe et al. 2014).
        activation: the activation after these layers, whose gain scales xavier and orthogonal.
    """
    if name == "default":
        return
    gain = nn.init.calculate_gain("tanh" if activation == "tanh" else "relu")
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            if name == "kaiming":
                nn.init.kaiming_normal_(module.weight)
            elif name == "xavier":
                nn.init.xavier_uniform_(module.weight, gain=gain)
            else:
                nn.init.orthogonal_(module.weight, gain=gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def norm_of_units(name: str, width: int) -> list[nn.Module]:
    """Normalization of (N, width), or an empty list for `none`."""
    return _chosen_norm(name, batch=nn.BatchNorm1d(width), layer=nn.LayerNorm(width))


def _norm_of_channels(name: str, channels: int) -> list[nn.Module]:
    """Normalization of (N, channels, H, W), or an empty list for `none`."""
    # Group normalization with one group is layer normalization of an image (Wu & He 2018, section 3).
    return _chosen_norm(name, batch=nn.BatchNorm2d(channels), layer=nn.GroupNorm(1, channels))


def _chosen_norm(name: str, **norms: nn.Module) -> list[nn.Module]:
    return [] if name == "none" else [norms[name]]
