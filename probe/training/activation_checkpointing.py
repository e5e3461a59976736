"""Activation checkpointing of any model: blocks discard their activations and recompute them in the backward pass.

It saves memory for about a third more computation (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost",
https://arxiv.org/abs/1604.06174).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint

from probe.errors import TaskError

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_MIN_CHAIN = 4
"""Shorter chains of layers are not split."""


def recompute_activations(model: nn.Module) -> nn.Module:
    """Enable activation checkpointing in `model`, in place, and return it. Outputs and gradients stay the same.

    A model with its own method (`gradient_checkpointing_enable` of Hugging Face) uses that. In other models the `forward` of
    each block is replaced: the state_dict and evaluation do not change, and batch normalization counts every batch once. Raises
    TaskError without blocks, or, during training, if a block changes its inputs in place.
    """
    enable = getattr(model, "gradient_checkpointing_enable", None)
    if callable(enable):
        enable()
        return model
    blocks, chains = blocks_to_recompute(model)
    if not blocks and not chains:
        raise TaskError(
            f"{type(model).__name__} has no blocks for activation checkpointing: no member of an nn.Sequential, nn.ModuleList "
            "or nn.ModuleDict has several layers.",
            hint="Call torch.utils.checkpoint.checkpoint in the model itself, or remove activation_checkpointing.",
        )
    for block in blocks:
        block.forward = partial(_recomputed, block, block.forward)
    for chain in chains:
        chain.forward = partial(_run_chain, chain)  # type: ignore[method-assign]  # of this one instance
    return model


def blocks_to_recompute(model: nn.Module) -> tuple[list[nn.Module], list[nn.Sequential]]:
    """The blocks of a model and its long chains of single layers. They do not overlap.

    A block is a member of a Sequential, ModuleList or ModuleDict that has several layers and does not contain blocks. A chain
    is a Sequential of single layers. If there are neither, the direct children of the model that have several layers are the
    blocks, provided that there is more than one.
    """
    blocks: list[nn.Module] = []
    chains: list[nn.Sequential] = []
    seen: set[int] = set()

    def visit(module: nn.Module, *, is_member: bool) -> None:
        if id(module) in seen:  # a module that is used in several places
            return
        seen.add(id(module))
        if is_member and _is_block(module) and not _holds_blocks(module):
            blocks.append(module)
        elif _is_chain(module):
            assert isinstance(module, nn.Sequential)
            chains.append(module)
        else:
            for child in module.children():
                visit(child, is_member=isinstance(module, _CONTAINERS))

    visit(model, is_member=False)
    if not blocks and not chains:
        parts = [child for child in model.children() if _is_block(child)]
        blocks = parts if len(parts) > 1 else []
    return blocks, chains


def _is_block(module: nn.Module) -> bool:
    """Whether a module has several layers, and weights."""
    num_layers = sum(1 for part in module.modules() if next(part.children(), None) is None)
    return num_layers > 1 and _has_weights(module)


def _holds_blocks(module: nn.Module) -> bool:
    return isinstance(module, _CONTAINERS) and any(map(_is_block, module.children()))


def _is_chain(module: nn.Module) -> bool:
    is_plain = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    layers = list(module.children())
    return is_plain and len(layers) >= _MIN_CHAIN and not any(map(_is_block, layers)) and _has_weights(module)


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _recomputed(block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call `forward` without storing activations. The backward pass calls it again."""
    if not (block.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    leaves, structure = tree_flatten((args, kwargs))
    first_call = [(args, kwargs)]

    def run(*leaves: Any) -> Any:
        # The caller may change lists and dicts after this call, so the second pass gets rebuilt ones.
        args, kwargs = first_call.pop() if first_call else tree_unflatten(leaves, structure)
        return forward(*args, **kwargs)

    inputs = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    versions = [tensor._version for tensor in inputs]
    # Tensors are passed one by one, so that autograd raises an error if one of them is changed before the backward pass.
    outputs = checkpoint(run, *leaves, use_reentrant=False, context_fn=partial(_counted_once, block))
    if [tensor._version for tensor in inputs] != versions:
        raise TaskError(
            f"A block of type {type(block).__name__} changes its inputs in place, so it cannot be recomputed.",
            hint="Set inplace=False in its first operation, or remove activation_checkpointing.",
        )
    return outputs


def _run_chain(chain: nn.Sequential, inputs: Any) -> Any:
    """Run a chain of n layers in about sqrt(n) pieces (Chen et al. 2016). All but the last are recomputed."""
    if not (chain.training and torch.is_grad_enabled()):
        return nn.Sequential.forward(chain, inputs)  # type: ignore[no-untyped-call]  # not annotated by torch
    pieces = _pieces(list(chain))
    for piece in pieces[:-1]:
        inputs = _recomputed(piece, piece, inputs)
    return pieces[-1](inputs)


def _pieces(layers: Sequence[nn.Module]) -> list[nn.Sequential]:
    """Split a chain where the next layer does not change its inputs in place, because they are stored."""
    length = math.isqrt(len(layers) - 1) + 1
    pieces: list[list[nn.Module]] = [[]]
    for layer in layers:
        if len(pieces[-1]) >= length and not getattr(layer, "inplace", False):
            pieces.append([])
        pieces[-1].append(layer)
    return [nn.Sequential(*piece) for piece in pieces]


def _counted_once(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of the first forward pass and of the recomputation."""
    return nullcontext(), _frozen_statistics(block)


@contextmanager
def _frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Keep batch normalization from updating its running statistics and its count of batches."""
    norms = [part for part in block.modules() if isinstance(part, nn.modules.batchnorm._NormBase)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
