"""The version, in a module of its own: rooms below the top may not import the top."""

VERSION = "0.1.0"
