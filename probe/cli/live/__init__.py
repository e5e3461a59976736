"""Progress on stderr while a command works.

- `progress`: chooses between a live view on a terminal and plain lines elsewhere.
- `lines`: the text of each kind of progress record, shared by both.
- `plain`: plain lines; `live`: live views of batch size, learning rate and search; `train`: live view of a training.
- `download`: progress of a download.
"""
