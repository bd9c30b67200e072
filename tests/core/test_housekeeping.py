from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backend.core.housekeeping import Housekeeping
from backend.core.jobs import FileRef
from backend.errors import EngineUnreachable


@dataclass
class Server:
    """Remembers uploads; tells the folders that it is given."""

    url: str = "http://127.0.0.1:8188"
    folders: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    uploads: list[tuple[bytes, FileRef]] = field(default_factory=list)
    away: bool = False

    def upload(
        self, data: bytes, filename: str, *, subfolder: str = "", type: str = "temp", overwrite: bool = True
    ) -> FileRef:
        if self.away:
            raise EngineUnreachable(self.url, "away")
        self.uploads.append((data, FileRef(filename, subfolder, type)))
        return self.uploads[-1][1]

    def folder_paths(self) -> Mapping[str, tuple[Path, ...]]:
        if self.away:
            raise EngineUnreachable(self.url, "away")
        return self.folders


def keeping(
    server: Server, own_output: Path | None = None, times: tuple[float, ...] = (0.0,)
) -> Housekeeping:
    clock = iter(times)
    return Housekeeping(
        server, instance="me", hour=lambda: "2026112017", clock=lambda: next(clock), own_output=own_output
    )


def saved(output: Path, data: bytes = b"a latent") -> FileRef:
    latent = FileRef("keyframe_00001_.latent", "dreamloop/me/2026112017")
    path = output / latent.subfolder / latent.filename
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return latent


def test_names_are_our_own_and_uploads_take_turns() -> None:
    house = keeping(Server())
    assert house.latent_prefix() == "dreamloop/me/2026112017/keyframe"
    names = [house.ring_name("latent") for _ in range(40)]
    assert len(set(names)) == 16
    assert len(set(names[:16])) == 16


def test_a_spent_latent_is_emptied_where_the_folder_cannot_be_reached() -> None:
    server = Server()
    house = keeping(server, times=(0.0, 3600.0))
    for number in range(3):
        house.retire(FileRef(f"keyframe_{number}.latent", "dreamloop/me"))
    assert [(data, ref.type) for data, ref in server.uploads] == [(b"", "output")] * 3
    assert not house.deletes
    assert house.left_files == 3
    assert house.a_day(house.left_files) == pytest.approx(72.0)


def test_a_folder_that_holds_our_very_file_is_ours_to_delete_from(tmp_path: Path) -> None:
    output = tmp_path / "output"
    server = Server(folders={"checkpoints": (tmp_path / "models" / "checkpoints", output / "checkpoints")})
    latent, house = saved(output), keeping(server)
    house.fetched(latent, b"a latent")
    assert house.deletes
    house.retire(latent)
    assert list((output / latent.subfolder).iterdir()) == []
    assert server.uploads == []
    assert house.left_files == 0


def test_a_server_that_does_not_answer_is_asked_for_its_folders_again(tmp_path: Path) -> None:
    output = tmp_path / "output"
    server = Server(folders={"checkpoints": (output / "checkpoints",)}, away=True)
    latent, house = saved(output), keeping(server)
    house.fetched(latent, b"a latent")
    assert not house.deletes
    server.away = False
    house.fetched(latent, b"a latent")
    assert house.deletes


def test_the_folder_of_an_hour_that_is_over_goes_with_its_last_latent(tmp_path: Path) -> None:
    hours = ["2026112017", "2026112018", "2026112018"]
    house = Housekeeping(
        Server(), instance="me", hour=lambda: hours.pop(0), clock=lambda: 0.0, own_output=tmp_path
    )
    assert house.latent_prefix() == "dreamloop/me/2026112017/keyframe"
    latent = saved(tmp_path)
    house.retire(latent)
    assert not (tmp_path / latent.subfolder).exists()
    assert (tmp_path / "dreamloop" / "me").is_dir()


def test_what_a_killed_run_left_behind_goes_once_the_folder_is_found(tmp_path: Path) -> None:
    output = tmp_path / "output"
    old = output / "dreamloop" / "me" / "2026112003" / "keyframe_00007_.latent"
    other = output / "dreamloop" / "somebody" / "2026112003" / "keyframe_00001_.latent"
    picture = output / "dreamloop" / "me" / "2026112003" / "keyframe.png"
    for path in (old, other, picture):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left")
        os.utime(path, (1.0, 1.0))
    latent = saved(output)
    keeping(Server(folders={"checkpoints": (output / "checkpoints",)})).fetched(latent, b"a latent")
    assert not old.exists()
    assert other.exists()
    assert picture.exists()
    assert (output / latent.subfolder / latent.filename).exists()


def test_a_file_of_the_same_name_with_another_content_is_not_ours(tmp_path: Path) -> None:
    output = tmp_path / "output"
    server = Server(folders={"checkpoints": (output / "checkpoints",)})
    latent, house = saved(output, b"b latent"), keeping(server)
    house.fetched(latent, b"a latent")
    house.retire(latent)
    assert (output / latent.subfolder / latent.filename).read_bytes() == b"b latent"
    assert len(server.uploads) == 1


@pytest.mark.parametrize("url", ["http://10.0.0.5:8188", "https://comfy.example/path"])
def test_the_folders_of_another_machine_are_not_looked_for_on_this_one(tmp_path: Path, url: str) -> None:
    output = tmp_path / "output"
    server = Server(url, {"checkpoints": (output / "checkpoints",)})
    house = keeping(server)
    house.fetched(saved(output), b"a latent")
    assert not house.deletes


def test_nothing_outside_the_folder_is_ever_deleted(tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    ours.mkdir()
    precious = tmp_path / "precious.latent"
    precious.write_bytes(b"precious")
    house = keeping(Server(), own_output=ours)
    house.retire(FileRef("precious.latent", ".."))
    house.retire(FileRef("precious.latent", "", "input"))
    assert precious.exists()
    assert ours.exists()


def test_a_server_that_is_away_is_no_trouble(tmp_path: Path) -> None:
    house = keeping(Server(away=True))
    house.fetched(FileRef("a.latent"), b"a latent")
    house.retire(FileRef("a.latent"))
    assert house.left_files == 0


def test_a_latent_that_is_spent_while_the_server_is_away_is_freed_later() -> None:
    server = Server(away=True)
    house = keeping(server)
    house.retire(FileRef("first.latent", "dreamloop/me"))
    assert not server.uploads
    server.away = False
    house.retire(FileRef("second.latent", "dreamloop/me"))
    assert {(data, ref.filename) for data, ref in server.uploads} == {
        (b"", "first.latent"),
        (b"", "second.latent"),
    }
    house.retire(FileRef("third.latent", "dreamloop/me"))
    assert house.left_files == 3
