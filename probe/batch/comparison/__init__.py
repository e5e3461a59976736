"""Compare batch sizes between variants of a training, with one sweep for each.

- comparison: the sweeps of one comparison, and what ends it
- axes: every combination of image sizes, precisions and activation checkpointing
- variants: the ways to train that a device offers, like bf16 and `torch.compile`
- task_look: what the task's data loader delivers, and whether it has convolutions
"""
