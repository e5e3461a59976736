"""The folder of a search: its database, its checkpoints and its lock.

database.py  search.sqlite: every event is committed before it takes effect
schema.py    its tables and views, and the records of finished stages
folder.py    the lock of a run, its checkpoints, and room for them on the disk
"""
