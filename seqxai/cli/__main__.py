"""``python -m seqxai.cli`` is the program ``seqxai``."""

from seqxai.cli import main

main()
