"""Runs the jobs of a search on a Ray cluster. Only this folder imports Ray.

`resources` parses `--ray` and plans slots (without Ray). `cluster` connects to a cluster or starts a local one. `nodes` finds
the nodes and checks them before they get jobs; `monitor` follows nodes that join and leave, and decides which resources and
nodes a job asks for. `tasks` has the code that runs on the nodes and follows the running Ray tasks; `executor` combines them.
"""
