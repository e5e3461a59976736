"""Progress on stderr while a command works.

- `progress`: chooses between a live view on a terminal and plain lines elsewhere; progress of a download.
- `lines`: the text of each kind of progress record, and plain lines.
- `views`: live views of batch size, learning rate and search; `train`: live view of a training.
"""
