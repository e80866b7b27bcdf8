"""A profile as a picture in SVG: a bar a step, the part that the machine's limit explains dark."""

from html import escape

from tvmpose.benchmark.profile import FrameProfile, StepProfile, limit
from tvmpose.benchmark.roofline import Roofline

ROW, BAR, NAMES, BARS, NUMBERS = 16, 11, 360, 520, 80  # pixels
FONT = 'font-family="sans-serif" font-size="11"'
COLOURS = {"compute": "#1f4e8c", "memory": "#b3541e", "left": "#d5d9df"}


def profile_svg(profile: FrameProfile, roofline: Roofline | None, title: str) -> str:
    """The text of an SVG file."""
    width, height = NAMES + BARS + NUMBERS, ROW * (len(profile.steps) + 3)
    scale = BARS / max(max((step.best_ms for step in profile.steps), default=0.0), 1e-9)
    rows = [_row(step, ROW * (i + 3), scale, roofline) for i, step in enumerate(profile.steps)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {FONT}>',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="8" y="{ROW}" font-weight="bold">{escape(title)}</text>',
            _legend(),
            *rows,
            "</svg>\n",
        ]
    )


def _legend() -> str:
    texts = {"compute": "limit: compute", "memory": "limit: memory", "left": "left on the table"}
    items = enumerate(texts.items())
    return "".join(
        f'<rect x="{NAMES + 130 * i}" y="{ROW + 6}" width="{BAR}" height="{BAR}" fill="{COLOURS[key]}"/>'
        f'<text x="{NAMES + 130 * i + 16}" y="{2 * ROW}">{text}</text>'
        for i, (key, text) in items
    )


def _row(step: StepProfile, y: int, scale: float, roofline: Roofline | None) -> str:
    least = limit(step, roofline) if roofline else None
    length, top = step.best_ms * scale, y - BAR + 2
    parts = [
        f'<text x="{NAMES - 6}" y="{y}" text-anchor="end">{escape(step.name)}</text>',
        f'<rect x="{NAMES}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{COLOURS["left"]}"/>',
    ]
    if least:
        part = min(least.milliseconds, step.best_ms) * scale
        parts.append(f'<rect x="{NAMES}" y="{top}" width="{part:.1f}" height="{BAR}" fill="{COLOURS[least.bound]}"/>')
    return "".join([*parts, f'<text x="{NAMES + length + 6:.1f}" y="{y}">{step.best_ms:.3f} ms</text>'])
