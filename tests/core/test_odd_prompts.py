"""F28: whatever somebody writes into a theme stays words: never a path, never markup, never a command."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image

from backend.cli.live_line import printable
from backend.core.frame_buffer import Frame, FrameKind
from backend.core.frame_shelf import FrameShelf
from backend.core.model_families import FAMILIES
from backend.core.provenance import FACTS_KEY, GRAPH_KEY, Provenance, stamped
from backend.core.workflow_builder import DreamStep, TextToImage
from backend.utils.picture_check import inspect_picture
from backend.utils.png_text import text_of
from backend.utils.status_schema import DreamStatus, PromptsStatus
from backend.utils.theme_files import MAX_CHARS, MAX_NAME_CHARS, Theme, read_theme
from tests.cache.memories import new, open_memory
from tests.core.graphs import LATENT, as_checkpoint, builder
from tests.fakes.memory_engine import picture

WEB = Path(__file__).parents[2] / "backend" / "shim" / "web"

ODD = [
    "a" * 1_000_000,
    "a" * MAX_CHARS,
    "a" * (MAX_CHARS + 1),
    "🌊🏳️‍🌈👩🏽‍🚀 sea",
    "\u202egnp.exe\u202c \u2066שלום\u2069 مرحبا",
    "NUL \x00 in it",
    "\x1b[2J\x07 bell",
    "\ud800 lone",
    "high \udbff and low \udc00",
    "../../../../etc/passwd",
    "..\\..\\windows\\system32",
    "/dev/sda",
    "%date:yyyy-MM-dd% %KSampler.seed% %width%",
    '{"prompt": {"1": {"class_type": "LoadImage"}}}',
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "'; DROP TABLE memories; --",
    "$(reboot) `reboot` | reboot",
    "e\u0301 o\u0308 \u1112\u1161\u11ab",
    "\ufeff\u200b\u200d\u2060 zero width",
    "line\r\nline\u2028line\u2029line\x85line",
    "(word:1.2) [a:b:0.5] <lora:x:1> embedding:evil BREAK",
    "   ",
    "",
    "null",
    "- a: &x *x",
]
TEXTS = st.one_of(
    st.sampled_from(ODD),
    st.text(max_size=200),
    st.text(st.characters(categories=["Cs", "Cc", "Cf", "Mn", "So", "Lo", "Zs"]), max_size=60),
)


def theme_of(folder: Path, name: str, positive: str, negative: str) -> Theme | None:
    """As it comes out of a file that says so in YAML's escapes, which can say anything at all."""
    path = folder / "odd.yaml"
    path.write_text(json.dumps({"name": name, "positive": [positive], "negative": negative}))
    theme, problems = read_theme(path)
    assert (theme is None) == bool(problems)
    for problem in problems:
        str(problem).encode()
        assert problem.wish
        assert len(str(problem)) < 1000
        assert problem.value.isprintable()
    return theme


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("odd")


@examples(deadline=None, suppress_health_check=[HealthCheck.large_base_example])
@given(TEXTS, TEXTS)
@example("a" * 1_000_000, "")
@example("e\u0301", "e\u0301")
def test_f28_what_comes_in_is_short_whole_and_in_one_form(folder: Path, text: str, other: str) -> None:
    theme = theme_of(folder, "odd", text, other)
    if theme is None:
        return
    for taken in (*theme.positive, theme.negative, theme.name):
        taken.encode()
        assert len(taken) <= MAX_CHARS
        assert unicodedata.is_normalized("NFC", taken)
        assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in taken)
    wanted = unicodedata.normalize("NFC", " ".join(text.split()))
    assert theme.positive == (wanted,)


@pytest.mark.parametrize("text", ["a" * 1_000_000, "a" * (MAX_CHARS + 1), "\x00", "\ud800", "a\x1b[2J"])
def test_f28_too_long_and_unfit_texts_are_refused_with_a_wish(folder: Path, text: str) -> None:
    assert theme_of(folder, "odd", text, "") is None
    assert theme_of(folder, "odd", "fine", text) is None
    assert theme_of(folder, text, "fine", "") is None


def test_f28_names_are_short(folder: Path) -> None:
    assert theme_of(folder, "n" * (MAX_NAME_CHARS + 1), "fine", "") is None


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in strings(one)]
    if isinstance(value, list | tuple):
        return [text for one in value for text in strings(one)]
    return [value] if isinstance(value, str) else []


_UNFIT = re.compile("[\x00-\x1f\x85\u2028\u2029\ud800-\udfff]")
PLAIN = [text for text in ODD if text.strip() and len(text) <= MAX_CHARS and not _UNFIT.search(text)]
IDS = [str(number) for number in range(len(PLAIN))]


@pytest.mark.parametrize("text", PLAIN, ids=IDS)
def test_f28_in_a_graph_it_stands_where_words_stand_and_nowhere_else(text: str) -> None:
    for family in FAMILIES:
        made = builder(as_checkpoint(family))
        for request in (
            TextToImage(text, text, 1, 64, 64),
            DreamStep(LATENT, text, text, 1, 0.5),
        ):
            for node in made.build(request).graph.values():
                said = strings(node["inputs"])
                if text in said:
                    assert "TextEncode" in node["class_type"], node
                assert not any(text in one and text != one for one in said if len(text) > 8)


@examples(deadline=None, max_examples=50)
@given(
    st.sampled_from(PLAIN) | st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=200)
)
def test_f28_a_picture_tells_it_back_as_it_was(text: str) -> None:
    facts = Provenance(
        sequence=1,
        theme=text,
        prompt=text,
        negative=text,
        seed=1,
        parents=(),
        denoise=1.0,
        score=None,
        model="m",
        engine="e",
        time=datetime(2026, 1, 2, tzinfo=UTC),
    )
    graph = {"1": {"class_type": "CLIPTextEncode", "inputs": {"text": text}}}
    told = stamped(picture(1), graph, facts)
    with Image.open(io.BytesIO(told)) as image:
        image.load()
        read = dict(image.text)  # type: ignore[attr-defined]
    for texts in (read, text_of(told)):
        assert json.loads(texts[GRAPH_KEY]) == graph
        assert json.loads(texts[FACTS_KEY])["prompt"] == text
        texts[FACTS_KEY].encode("ascii")


@examples(deadline=None, max_examples=50)
@given(TEXTS)
def test_f28_the_status_is_json_whatever_it_tells(text: str) -> None:
    dream = DreamStatus(theme=text, prompt=text, negative=text)
    written = dream.model_dump_json().encode()
    told = json.loads(written)["prompt"]
    assert told == text[:MAX_CHARS].encode("utf-8", "replace").decode()
    assert DreamStatus.model_validate_json(written) == dream
    assert json.loads(PromptsStatus(themes=(text,)).model_dump_json())["themes"] == [told]


@given(TEXTS)
def test_f28_on_a_terminal_it_is_only_text(text: str) -> None:
    assert printable(text[:500]).isprintable()


@pytest.mark.parametrize("text", PLAIN, ids=IDS)
def test_f28_a_shown_frame_is_called_by_its_number(tmp_path: Path, text: str) -> None:
    shelf = FrameShelf(tmp_path / "out", keep_s=60, budget_bytes=10**7, max_pixels=10**6, clock=lambda: 0.0)
    shelf.open()
    data = picture(1)
    shown = shelf.show(Frame(data, inspect_picture(data, max_pixels=10**6), FrameKind.KEYFRAME, text, 0.1))
    assert shown.path.name == "000000001.png"
    for path in (tmp_path / "out").rglob("*"):
        assert re.fullmatch(r"[a-z]+|current_frame\.png|[0-9]{9}\.[a-z]+", path.name)


def test_f28_the_memory_gives_it_back_and_calls_files_by_their_content(tmp_path: Path) -> None:
    with open_memory(tmp_path / "memory") as memory:
        for number, text in enumerate(PLAIN[:8]):
            memory.add(new(number, theme=text[:60], prompt=text, negative=text))
        found = {one.prompt: one for one in memory.iterate(0, 100)}
    assert set(found) == set(PLAIN[:8])
    for one in found.values():
        assert re.fullmatch(r"[\w./-]+", one.picture)
        assert one.picture.rpartition("/")[2].startswith(one.id[:8])


def test_f28_no_page_takes_words_for_markup() -> None:
    pages = list(WEB.rglob("*.js"))
    assert pages
    for page in pages:
        found = re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page.read_text())
        assert found == [], page.name
