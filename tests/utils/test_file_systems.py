from __future__ import annotations

from pathlib import Path

import pytest

from backend.utils.file_systems import network_file_system

TABLE = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /mnt/nas rw,relatime shared:5 - nfs4 nas:/export rw,vers=4.2
31 30 8:17 / /mnt/nas/local rw - ext4 /dev/sdb1 rw
32 22 0:40 / /mnt/my\040share rw - cifs //nas/share rw
33 22 0:41 / /mnt/remote rw - fuse.sshfs me@there: rw
34 22 0:42 / /mnt/box rw - ext4 /dev/sdc1 rw
35 34 0:43 / /mnt/box rw - nfs nas:/other rw
nonsense
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(TABLE)
    return path


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me/output", None),
        ("/mnt/nas", "nfs4"),
        ("/mnt/nas/a/b/output", "nfs4"),
        ("/mnt/nasty", None),
        ("/mnt/nas/local/output", None),
        ("/mnt/my share/output", "cifs"),
        ("/mnt/remote/x", "fuse.sshfs"),
        ("/mnt/box/x", "nfs"),
    ],
)
def test_the_nearest_mount_tells(mounts: Path, folder: str, kind: str | None) -> None:
    assert network_file_system(Path(folder), mounts) == kind


def test_where_no_table_is_told_nothing_is_known(tmp_path: Path) -> None:
    assert network_file_system(tmp_path, tmp_path / "nowhere") is None


def test_this_machines_own_table_can_be_read(tmp_path: Path) -> None:
    network_file_system(tmp_path)


def test_a_link_counts_as_where_it_leads(mounts: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/mnt/nas/output")
    assert network_file_system(tmp_path / "link", mounts) == "nfs4"
