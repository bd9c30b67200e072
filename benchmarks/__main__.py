"""``make bench``: one table; every judgement is a ratio of two things measured in this run."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterable

from benchmarks import (
    admission,
    at_rest,
    busy,
    decoders,
    display_rate,
    flow,
    generation_loss,
    matching,
    memory_add,
    memory_cure,
    memory_query,
    node_pack,
    pacing,
    paint,
    paths,
    restarts,
    walk,
    window,
    writing,
)

Row = tuple[str, str, str]


def _busy(quick: bool) -> list[Row]:
    ours = busy.our_loop(30 if quick else 200)
    old = busy.one_by_one(5 if quick else 30)
    return [
        ("engine busy share, our loop", f"{ours.share:.3f}", "at least 0.97"),
        ("engine busy share, one job at a time", f"{old.share:.3f}", ""),
        ("frames/s on the paced engine, our loop", f"{ours.frames_per_s:.1f}", ""),
        ("frames/s on the paced engine, one job at a time", f"{old.frames_per_s:.1f}", ""),
        ("frames/s, our loop : one job at a time", f"{ours.frames_per_s / old.frames_per_s:.2f}", "above 1"),
    ]


def _walk(quick: bool) -> list[Row]:
    gaps = 3 if quick else 12
    walked = walk.compare(gaps)
    same_work = (walked.in_betweens_s + walked.keyframes_s) / walked.loop_s
    between = walked.in_betweens_s / (walked.loop_s - walked.keyframes_s)
    return [
        ("bare work : loop, in-betweens alone", f"{between:.3f}", "at least 0.9"),
        ("bare work : loop, keyframes included", f"{same_work:.3f}", ""),
        (
            "in-betweens/s, loop : one job each",
            f"{walked.one_by_one_s / (walked.loop_s - walked.keyframes_s):.2f}",
            "",
        ),
        ("embedded engine, frames/s through the loop", f"{walked.frames_per_s:.1f}", ""),
        ("embedded engine, bare in-betweens/s", f"{gaps * (walk.STEPS - 1) / walked.in_betweens_s:.1f}", ""),
        ("seconds to the first picture, engine running", f"{walked.first_frame_s:.2f}", ""),
    ]


def _writing(quick: bool) -> list[Row]:
    cost = writing.cost()
    growth = writing.growth(2_000 if quick else 20_000)
    return [
        ("frame and status writing at 10 fps, share of a core", f"{cost.writing:.4f}", ""),
        ("PNG encoding alone at 10 fps, share of a core", f"{cost.encoding:.4f}", ""),
        ("writing : encoding", f"{cost.writing / cost.encoding:.2f}", ""),
        (f"RSS over {growth.frames:,} frames, MB", f"{growth.first_mb:.1f} -> {growth.last_mb:.1f}", ""),
        ("RSS slope over the second half, bytes a frame", f"{growth.slope:.1f}", "flat"),
    ]


def _paint(quick: bool) -> list[Row]:
    rows: list[Row] = []
    for width, height in paint.SIZES:
        painted = paint.compare(width, height, 3 if quick else 15)
        own, size = painted.theme_ms[paint.DEFAULT_THEME], f"{width}x{height}"
        slowest = max(painted.theme_ms, key=painted.theme_ms.__getitem__)
        rows += [
            (f"painter at {size}, pictures/s, {paint.DEFAULT_THEME}", f"{1e3 / own:.1f}", ""),
            (
                f"painter at {size}, pictures/s, slowest: {slowest}",
                f"{1e3 / painted.theme_ms[slowest]:.1f}",
                "",
            ),
            (f"plain warp of noise at {size}, pictures/s", f"{1e3 / painted.plain_ms:.1f}", ""),
            (f"painter : plain warp at {size}, time", f"{own / painted.plain_ms:.2f}", "at most 1.5"),
        ]
    return rows


def _matching(quick: bool) -> list[Row]:
    cost = matching.cost(30 if quick else 200)
    apart = matching.separation(*((100, 20) if quick else (1_000, 200)))
    size = "x".join(map(str, matching.SIZE_PX))
    rows: list[Row] = [
        (f"decoding a PNG of {size} alone, ms", f"{cost.decode_ms:.1f}", ""),
        ("decoding and embedding without weights, ms", f"{cost.embed_ms:.1f}", ""),
        ("decoding, embedding and scoring, ms", f"{cost.judge_ms:.1f}", ""),
        ("decoding, embedding and scoring a JPEG, ms", f"{cost.judge_jpeg_ms:.1f}", ""),
    ]
    for name, least in apart.alteration_min.items():
        found = f"{apart.alteration_found[name]:.1%} {least:.3f}"
        rows.append((f"seen as duplicates: {name}; least similarity", found, "above 95 %"))
    return [
        *rows,
        (f"{apart.pictures:,} different ones seen as different", f"{apart.told_apart:.1%}", "at least 95 %"),
        ("    not even near", f"{apart.not_near:.1%}", ""),
        (
            "    similarity to the nearest, median, most",
            f"{apart.nearest_median:.3f} {apart.nearest_max:.3f}",
            "",
        ),
        ("similarity a keyframe later, median", f"{apart.a_step_later:.3f}", ""),
    ]


def _memory_add(quick: bool) -> list[Row]:
    entries = 5_000 if quick else memory_add.MANY
    few, many = memory_add.compare(many=entries, adds=30 if quick else 100, full=False)
    return [
        (f"adding to a memory of {few.entries}, ms", f"{few.add:.1f}", ""),
        (f"adding to a memory of {many.entries:,}, ms", f"{many.add:.1f}", ""),
        (f"adding, {many.entries:,} : {few.entries} entries", f"{many.add / few.add:.2f}", "at most 1.5"),
        (f"until open() of {many.entries:,} returns, ms", f"{many.open:.0f}", ""),
    ]


_PARTS: dict[str, Callable[[bool], list[Row]]] = {
    "admission": admission.rows,
    "at_rest": at_rest.rows,
    "busy": _busy,
    "decoders": decoders.rows,
    "display_rate": display_rate.rows,
    "flow": flow.rows,
    "generation_loss": generation_loss.rows,
    "matching": _matching,
    "memory_add": _memory_add,
    "memory_cure": memory_cure.rows,
    "memory_query": memory_query.table,
    "node_pack": node_pack.rows,
    "pacing": pacing.rows,
    "paint": _paint,
    "paths": paths.rows,
    "restarts": restarts.rows,
    "walk": _walk,
    "window": window.rows,
    "writing": _writing,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(_PARTS)}; all if none is named"
    )
    parser.add_argument("--quick", action="store_true", help="shorter runs, for a first look")
    parser.add_argument(
        "--million",
        action="store_true",
        help="memory_query: the graph of a million vectors too; a quarter of an hour, and 5 GB of memory",
    )
    parser.add_argument(
        "--comfyui-url",
        metavar="URL",
        help="node_pack: a real ComfyUI with Dreamloop's nodes installed, and a checkpoint",
    )
    parser.add_argument(
        "--frame-px",
        type=int,
        choices=node_pack.SIZES_PX,
        default=node_pack.size_px,
        help="node_pack: width and height of its frames (%(default)s)",
    )
    args = parser.parse_args()
    node_pack.url, node_pack.size_px = args.comfyui_url, args.frame_px
    unknown = set(args.parts) - set(_PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(_PARTS)}")
    logging.basicConfig(level=logging.WARNING)
    print(f"{'what':<54}{'measured':>18}   wished")
    for name in args.parts or _PARTS:
        _print(_PARTS[name](args.quick))
        if args.million and name == "memory_query":
            _print(memory_query.large(memory_query.MILLION, memory_query.RANDOM_BESIDE))


def _print(rows: Iterable[Row]) -> None:
    for what, measured, wished in rows:
        print(f"{what:<54}{measured:>18}   {wished}", flush=True)


if __name__ == "__main__":
    main()
