"""The folder of a search: its database, its checkpoints and its lock.

database.py    search.sqlite: every event is committed before it takes effect
connection.py  its connections: durable writes, reading of damaged files, and the files that SQLite keeps beside it
mounts.py      whether it is on a network file system, where SQLite's log does not work
schema.py      its tables and views, and the records of finished stages
folder.py      the lock of a run, its checkpoints, and room for them on the disk
"""
