"""The type checker of the test run: every annotated function of the package is checked on every call."""

from beartype import BeartypeConf, beartype

# PEP 484's numeric tower: an int is welcome where a float is.
typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
