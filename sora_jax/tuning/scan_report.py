"""The report of a scan of a folder of videos, as four files.

plan.json     the clips to cut from each file, and their splits
scan.json     totals of the folder, and its problems
sheet.png     contact sheet: a still of each file
index.html    all of it as a page
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from sora_jax import files
from sora_jax.data.folder_scan import Scan
from sora_jax.tuning.page import Page

# Of the sheet: stills in a row, sides of a still and height of its name in pixels, stills in all.
COLUMNS, CELL, LINE, SHOWN = 8, 112, 14, 96
PLAN, FACTS, SHEET, INDEX = "plan.json", "scan.json", "sheet.png", "index.html"


def totals(scan: Scan) -> dict[str, Any]:
    """Returns the totals of a scan by name, as JSON values: numbers of files and clips, hours,
    frame rates, sizes, audio rates, and the lowest, median and highest loudness in dBFS.
    """
    facts, plan = scan.facts, scan.plan
    loud = sorted(one.loudness for one in facts.values() if one.loudness is not None)
    clips = {split: plan.count(split) for split in ("train", "val")}
    return {
        "files": len(facts) + len({name for name, _ in scan.problems} - facts.keys()),
        "readable": len(facts),
        "used": len(plan.files),
        "hours": round(sum(one.seconds for one in facts.values()) / 3600, 4),
        "scenes": sum(1 + len(one.cuts) for one in facts.values()),
        "clips": clips,
        "seconds_of_a_clip": scan.format.seconds,
        "frame_rates": dict(Counter(f"{one.fps:.5g}" for one in facts.values())),
        "sizes": dict(Counter(f"{one.width} x {one.height}" for one in facts.values())),
        "vertical": sum(one.height > one.width for one in facts.values()),
        "audio_rates": dict(Counter(str(one.audio_rate or "none") for one in facts.values())),
        "channels": dict(Counter(str(one.channels) for one in facts.values())),
        "loudness_dbfs": [round(x, 1) for x in (loud[0], loud[len(loud) // 2], loud[-1])]
        if loud
        else None,
    }


def write_scan(scan: Scan, folder: Path) -> dict[str, Any]:
    """Writes the report of a scan to a folder, and returns its totals."""
    scan.plan.write(folder / PLAN)
    found = totals(scan)
    problems = [{"file": name, "reason": reason} for name, reason in scan.problems]
    files.write(folder / FACTS, json.dumps({**found, "problems": problems}, indent=1) + "\n")
    with files.replacing(folder / SHEET) as temporary:
        draw_sheet(scan).save(temporary, format="png")
    page = Page("Scan of the folder")
    page.text(sentence(found))
    page.picture(SHEET, "the middle of each file; frames in red are of held-out files")
    page.heading("What is wrong" if problems else "Nothing is wrong")
    for name, reason in scan.problems:
        page.text(f"{name}: {reason}", wrong=True)
    page.heading("Files")
    header = ("file", "split", "clips", "scenes", "seconds", "frames", "fps", "audio", "dBFS")
    page.table((*header, "captions"), [_row(scan, name) for name in scan.facts])
    page.write(folder / INDEX)
    return found


def sentence(found: dict[str, Any]) -> str:
    """Returns the totals of a scan (`totals`) as one line of text."""
    clips, loud = found["clips"], found["loudness_dbfs"]
    levels = f"loudness {loud[0]:g} to {loud[2]:g} dBFS" if loud else "no sound"
    return (
        f"{found['files']} files, {found['used']} of them used: {60 * found['hours']:.1f} minutes, "
        f"{found['scenes']} scenes, {clips['train']} clips for training and {clips['val']} held "
        f"out, of {found['seconds_of_a_clip']:.2f} s; {found['vertical']} files vertical; "
        f"{', '.join(found['frame_rates'])} fps; audio at {', '.join(found['audio_rates'])} Hz; "
        f"{levels}"
    )


def _row(scan: Scan, name: str) -> tuple[object, ...]:
    one, plan = scan.facts[name], scan.plan.files.get(name)
    audio = f"{one.audio_rate} Hz, {one.channels} channels" if one.audio_rate else "none"
    loud = "-" if one.loudness is None else f"{one.loudness:.1f}"
    size = f"{one.width} x {one.height}"
    split, clips = (plan.split, len(plan.starts)) if plan else ("not used", 0)
    says = plan.captions[0] if plan else ""
    begin = (name, split, clips, 1 + len(one.cuts), f"{one.seconds:.2f}")
    return (*begin, size, f"{one.fps:.5g}", audio, loud, says)


def draw_sheet(scan: Scan) -> Image.Image:
    """Returns the contact sheet: the middle frame of each file under its name, at most SHOWN files.
    Frames of held-out files are edged in red.
    """
    names = list(scan.facts)[:SHOWN]
    rows = -(-len(names) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * CELL, rows * (CELL + LINE)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, name in enumerate(names):
        left, top = i % COLUMNS * CELL, i // COLUMNS * (CELL + LINE)
        still = Image.fromarray(scan.facts[name].still)
        still.thumbnail((CELL - 6, CELL - 6))
        place = left + (CELL - still.width) // 2, top + LINE + (CELL - still.height) // 2
        plan = scan.plan.files.get(name)
        if plan is not None and plan.split == "val":
            edge = (
                place[0] - 2,
                place[1] - 2,
                place[0] + still.width + 1,
                place[1] + still.height + 1,
            )
            draw.rectangle(edge, outline=(200, 30, 30), width=2)
        sheet.paste(still, place)
        draw.text((left + 2, top + 1), name[-18:], fill="black" if plan else (170, 50, 0))
    return sheet
