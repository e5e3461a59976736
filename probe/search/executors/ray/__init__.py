"""Runs the jobs of a search on a Ray cluster. Only this folder imports Ray.

`resources` parses `--ray` and plans slots (without Ray). `cluster` connects to a cluster or starts a local one. `nodes` finds
the nodes and checks them before they get jobs; `monitor` follows nodes that join and leave. `placement` decides which
resources and nodes a job asks for, `tasks` follows the running Ray tasks, and `executor` combines them. `on_node` is the code
that runs on the nodes.
"""
