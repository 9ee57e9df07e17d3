"""Files appear whole or not at all, and nothing is left lying about."""

import errno
import os
import time

import pytest

from seqxai.errors import InputError
from seqxai.files import written_whole


def test_what_a_killed_program_left_is_removed_after_an_hour(tmp_path):
    old, fresh, other = tmp_path / ".a.17.part.txt", tmp_path / ".a.18.part.txt", tmp_path / ".b.17.part.txt"
    mine = tmp_path / ".a.notes.part.txt"
    for path in (old, fresh, other, mine):
        path.write_text("half")
    hour_ago = time.time() - 3700
    for path in (old, other, mine):
        os.utime(path, (hour_ago, hour_ago))
    with written_whole(tmp_path / "a.txt") as partial:
        partial.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.18.part.txt", ".a.notes.part.txt", ".b.17.part.txt", "a.txt"]
    assert (tmp_path / "a.txt").read_text() == "whole"


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "No space left on device; make room there, or choose another place."),
        (errno.EFBIG, "File too large; make room there, or choose another place."),
        (errno.EACCES, "Permission denied; choose a place that can be written."),
    ],
)
def test_a_disk_that_fails_has_its_remedy(tmp_path, code, remedy):
    def fail(partial):
        partial.write_text("half")
        raise OSError(code, os.strerror(code))

    with pytest.raises(InputError) as caught, written_whole(tmp_path / "a.txt") as partial:
        fail(partial)
    assert str(caught.value).endswith(remedy)
    assert list(tmp_path.iterdir()) == []
