from __future__ import annotations

from pathlib import Path

from backend.utils.disk_room import DiskRoom

MB = 1_000_000


class Disk:
    def __init__(self, free: int) -> None:
        self.free = free

    def __call__(self, _: Path) -> int:
        return self.free


def room_of(disk: Disk) -> DiskRoom:
    return DiskRoom(Path("/dream"), 200 * MB, disk)


def test_below_the_reserve_room_is_scarce_and_the_sentence_says_what_would_help() -> None:
    room = room_of(Disk(150 * MB))
    room.look()
    assert room.scarce
    assert "150 MB" in room.sentence
    assert "250 MB" in room.sentence


def test_there_is_room_again_only_well_above_the_reserve() -> None:
    disk = Disk(150 * MB)
    room = room_of(disk)
    room.look()
    for free, scarce in ((220, True), (249, True), (250, False), (201, False), (199, True)):
        disk.free = free * MB
        room.look()
        assert room.scarce is scarce, free


def test_what_is_unknown_changes_nothing() -> None:
    def gone(_: Path) -> int:
        raise OSError("stale file handle")

    disk = Disk(150 * MB)
    room = room_of(disk)
    room.look()
    room._probe._ask = lambda: gone(Path())
    room.look()
    assert room.scarce
    assert room.free_bytes is None


def test_a_real_disk_can_be_looked_at(tmp_path: Path) -> None:
    room = DiskRoom(tmp_path, 1)
    room.look()
    assert room.free_bytes
    assert not room.scarce
