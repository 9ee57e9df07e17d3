"""Files appear whole or not at all, and nothing is left lying about."""

import errno
import os
import subprocess
import sys
import time

import pytest

from seqxai.errors import InputError
from seqxai.files import written_whole


def test_what_a_killed_program_left_is_removed_after_ten_minutes(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    dead = ended.pid
    old, fresh, other = tmp_path / f".a.{dead}.part.txt", tmp_path / f".a.{dead}.part", tmp_path / f".b.{dead}.part.txt"
    lives = tmp_path / f".a.{os.getppid()}.part.txt"
    mine = tmp_path / ".a.notes.part.txt"
    for path in (old, fresh, other, mine, lives):
        path.write_text("half")
    before = time.time() - 700
    for path in (old, other, mine, lives):
        os.utime(path, (before, before))
    with written_whole(tmp_path / "a.txt") as partial:
        partial.write_text("whole")
    assert set(tmp_path.iterdir()) == {fresh, other, mine, lives, tmp_path / "a.txt"}
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
