"""Named models: every classifier of torchvision, short names for them, and the built-in networks.

- `registry.py`: all models by name; checks and builds them. Imports PyTorch only to build one
- `networks.py`: the built-in `mlp`, `cnn` and `lstm`; `text_networks.py`: those for texts
- `torchvision_models.py`: torchvision's models
- `pretrained.py`: loads weights from a file

To add a network, write a module class whose keywords are its hyperparameters, and add a line to `BUILT_IN` in `registry.py`.
"""
