"""The `seqxai atari` commands, one per file; what is heavy is imported when a command runs."""
