"""Data sets: from a name, like `mnist` or `csv:houses.csv`, to tensors.

- `protocol.py`: options of a data file, the request for a data set, the loaded data, and the functions of a loader module
- `registry.py`: all data sets by name and by kind; loads one of them once per process
- `built_in.py` (digits and synthetic images), `cifar10.py`, `mnist.py`, `reuters.py`: the named data sets
- `json_lines.py`: reads labelled texts
- `files/`: the kinds `csv`, `folder`, `series` and `text`, which read the user's own files
- `download.py`: downloads and prepares named data sets
- `images.py`: resizes images, and scales bytes inside the model

To add a data set or a kind of data, write a module with the contents of `DataModule` and add a line to `registry.py`. If a
kind takes options of a recipe's `data_options`, list it in probe/recipe/sections.py.
"""
