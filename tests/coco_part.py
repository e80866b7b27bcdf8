"""A part of COCO: slow tests cannot wait for all of it."""

import json
import shutil
from pathlib import Path


def part_of(coco: Path, pictures: str, annotations: str, count: int, folder: Path) -> tuple[Path, Path]:
    """The first pictures of a folder and the annotations of the people in them."""
    table = json.loads((coco / annotations).read_text())
    images = sorted(table["images"], key=lambda image: image["file_name"])[:count]
    ids = {image["id"] for image in images}
    (folder / pictures).mkdir()
    for image in images:
        shutil.copy(coco / pictures / image["file_name"], folder / pictures)
    people = [entry for entry in table["annotations"] if entry["image_id"] in ids]
    (folder / annotations).write_text(json.dumps(table | {"images": images, "annotations": people}))
    return folder / pictures, folder / annotations
