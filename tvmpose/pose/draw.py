"""Draws skeletons over a picture. Needs OpenCV (the extra ``images``)."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from tvmpose.runtime import Person

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {  # blue, green, red; most colour-blind eyes tell blue from orange
    "left": (51, 153, 255),
    "right": (230, 170, 40),
    "centre": (170, 220, 110),
}
OUTLINE: Colour = (30, 30, 30)
BOX: Colour = (230, 230, 230)
SHIFT = 4  # OpenCV's fixed point: sixteenths of a pixel
FARTHEST = 1 << 20  # pixels; beyond it OpenCV's fixed point would overflow


def draw(
    image: np.ndarray,
    people: Sequence[Person],
    edges: Sequence[tuple[int, int]],
    names: Sequence[str] = (),
    threshold: float = 0.3,
) -> np.ndarray:
    """Returns a copy of ``image``, uint8 (H, W, 3) BGR, with every person's box, limbs and joints on it.

    ``edges`` are pairs of joint indices. Joints whose score is below ``threshold`` and limbs that end in one are left
    out. ``names`` give the sides their colours ("left_wrist"); without them all is centre.
    """
    canvas = image.copy()
    for person in people:
        unit = _unit(image, person)
        joints = {i: (x, y) for i, (x, y, score) in enumerate(person.keypoints) if _visible(x, y, score, threshold)}
        sides = [_side(names, i) for i in range(len(person.keypoints))]
        if person.box[2:] != (image.shape[1], image.shape[0]):  # the whole image is nobody's choice
            _draw_box(canvas, person.box, max(1, round(unit / 3)))
        limbs = [(a, b, _limb_side(sides[a], sides[b])) for a, b in edges if a in joints and b in joints]
        for colour_of, width in _strokes(unit):
            for a, b, side in limbs:
                cv2.line(canvas, _fixed(joints[a]), _fixed(joints[b]), colour_of[side], width, cv2.LINE_AA, SHIFT)
        for i, joint in joints.items():
            _draw_joint(canvas, joint, 1.1 * unit, COLOURS[sides[i]])
    return canvas


def write_label(picture: np.ndarray, person: Person, text: str) -> None:
    """Writes into ``picture`` at the upper left corner of the person's box."""
    unit = _unit(picture, person)
    size, width = max(0.4, unit / 6), max(1, round(unit / 2))
    x, y = (round(v) for v in np.clip(person.box[:2], -FARTHEST, FARTHEST))
    place = (max(x, 0) + 2, max(y, 0) + round(24 * size))
    for colour, extra in ((OUTLINE, 2), (BOX, 0)):
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, width + extra, cv2.LINE_AA)


def _unit(image: np.ndarray, person: Person) -> float:
    """A limb's width in pixels: 3 at 512 x 512 and 11 at 4K, less for someone small in the picture."""
    height, width = image.shape[:2]
    by_image = (height * width) ** 0.5 / 180
    by_person = max(person.box[2:]) / 80
    return max(1.5, min(by_image, by_person))


def _visible(x: float, y: float, score: float, threshold: float) -> bool:
    return bool(score >= threshold and abs(x) < FARTHEST and abs(y) < FARTHEST)  # NaN is neither


def _side(names: Sequence[str], joint: int) -> str:
    words = names[joint].lower().split("_") if joint < len(names) else ()
    return "left" if "left" in words else "right" if "right" in words else "centre"


def _limb_side(a: str, b: str) -> str:
    """A limb from one side to the other is centre; one from the middle outward belongs to its side."""
    if a == b:
        return a
    return b if a == "centre" else a if b == "centre" else "centre"


def _strokes(unit: float) -> Iterator[tuple[dict[str, Colour], int]]:
    """First a dark edge under all limbs, which keeps them visible on any background, then their colours."""
    yield dict.fromkeys(COLOURS, OUTLINE), round(unit + max(2.0, unit / 2))
    yield COLOURS, max(1, round(unit))


def _draw_joint(canvas: np.ndarray, joint: tuple[float, float], radius: float, colour: Colour) -> None:
    for size, fill in ((radius + max(1.0, radius / 3), OUTLINE), (radius, (255, 255, 255)), (0.7 * radius, colour)):
        cv2.circle(canvas, _fixed(joint), round(size * (1 << SHIFT)), fill, cv2.FILLED, cv2.LINE_AA, SHIFT)


def _draw_box(canvas: np.ndarray, box: tuple[float, float, float, float], width: int) -> None:
    x, y, w, h = np.clip(box, -FARTHEST, FARTHEST)
    cv2.rectangle(canvas, _fixed((x, y)), _fixed((x + w - 1, y + h - 1)), BOX, width, cv2.LINE_AA, SHIFT)


def _fixed(point: tuple[float, float]) -> tuple[int, int]:
    return round(float(point[0]) * (1 << SHIFT)), round(float(point[1]) * (1 << SHIFT))
