"""What the commands check before anything is played."""

from pathlib import Path

import pytest

from rl.commands.common import check_distinct
from seqxai.errors import InputError


def test_two_outputs_of_one_name_are_refused():
    check_distinct(Path("a.mp4"), None, Path("b.npz"), None)
    with pytest.raises(InputError, match=r"two outputs have the same name, 'a.npz'"):
        check_distinct(Path("a.npz"), Path("b.mp4"), Path("./a.npz"))
