"""The version of probe, in its own module so that every package can import it."""

VERSION = "0.1.0"
