"""One file per command. Each command checks its options, computes a result and hands it to a reporter."""
