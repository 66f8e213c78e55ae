"""The page's two pictures, as SVG written by hand: no plotting library, and text stays text."""

import math
from html import escape
from statistics import median

from catalogue import CATALOGUE, FLAT, OWN
from figures import ratio, side

INK, FAINT, GOOD, BAD, WHITE = "#1f2933", "#cbd2d9", "#2f7d5b", "#b4532a", "#ffffff"


def text(x, y, words, size=12, anchor="start", colour=INK, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{colour}" font-weight="{weight}">{escape(words)}</text>')


def line(x1, y1, x2, y2, colour=FAINT, width=1.0):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{colour}" stroke-width="{width}"/>')


def picture(width, height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, sans-serif">\n'
            f'<rect width="{width}" height="{height}" fill="{WHITE}"/>\n'
            + "\n".join(parts) + "\n</svg>\n")


def each(comparison, s):
    """CPU microseconds per token of what the curve divides by."""
    tokens = s["sampled"] if comparison.per == "sampled token" else s["unique"]
    return median(s["cpu"]) / tokens * 1e6


def bars(results):
    """How many times our CPU time every other side takes; the tree's own share is F/U."""
    rows = []
    for comparison in CATALOGUE:
        result = results.get(comparison.name)
        if comparison.show != "sides" or not result:
            continue
        ours = side(result, OWN)
        peers = [s for s in result["sides"] if not s["label"].startswith("stepwell")]
        peers += [s for s in result["sides"] if s["label"] == FLAT]
        for at, s in enumerate(peers):
            title = result["title"] if at == 0 else ""
            limit = s["flat"] / s["unique"] if s["label"] == FLAT else None
            rows.append((title, s["label"], ratio(s, ours, "cpu"), limit))
    return rows


def compare(results):
    rows = bars(results)
    if not rows:
        return None
    left, right, top, step = 470, 900, 64, 22
    largest = max(max(value, limit or 0) for *_, value, limit in rows)
    # Doublings are equally far apart; the axis starts at a quarter.
    low, high = -2, max(2, math.ceil(math.log2(largest)))
    place = lambda value: left + (math.log2(max(value, 0.25)) - low) / (high - low) * (right - left)
    bottom = top + step * len(rows)
    parts = [text(16, 26, "CPU time of the other side, in units of stepwell's", 16, weight="bold"),
             text(16, 45, "Right of 1 we need less; every line doubles. A tick marks F/U, what sharing can save.", 12)]
    for power in range(low, high + 1):
        x = place(2.0**power)
        parts += [line(x, top - 4, x, bottom, INK if power == 0 else FAINT),
                  text(x, bottom + 16, f"{2.0**power:g}", 11, "middle")]
    for at, (title, label, value, limit) in enumerate(rows):
        y = top + step * at
        if title and at:
            parts.append(line(16, y, right, y))
        a, b = sorted((place(1.0), place(value)))
        parts += [
            text(16, y + 15, title, 11), text(left - 12, y + 15, label, 11, "end"),
            f'<rect x="{a:.1f}" y="{y + 4}" width="{max(b - a, 1):.1f}" height="{step - 8}" '
            f'fill="{GOOD if value >= 1 else BAD}"/>',
            text(right + 12, y + 15, f"{value:.2f}", 11)]
        if limit:
            parts.append(line(place(limit), y + 2, place(limit), y + step - 2, INK, 2))
    return picture(960, bottom + 28, parts)


def curve(comparison, result, x0, y0):
    """One small plot, 280 x 180, from zero; x in equal ratios."""
    width, height = 230, 120
    points = [(s["x"], each(comparison, s)) for s in result["sides"]]
    top = max(y for _, y in points) * 1.15
    small, large = math.log(points[0][0]), math.log(points[-1][0])
    at = lambda x: x0 + 40 + (math.log(x) - small) / (large - small) * width
    up = lambda y: y0 + 30 + height - y / top * height
    parts = [text(x0 + 4, y0 + 14, result["title"], 12, weight="bold")]
    for part in (0.0, 0.5, 1.0):
        y = up(top * part)
        parts += [line(x0 + 40, y, x0 + 40 + width, y),
                  text(x0 + 34, y + 4, f"{top * part:.0f}", 10, "end")]
    path = " ".join(f"{at(x):.1f},{up(y):.1f}" for x, y in points)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{GOOD}" stroke-width="2"/>')
    for x, y in points:
        parts += [f'<circle cx="{at(x):.1f}" cy="{up(y):.1f}" r="3" fill="{GOOD}"/>',
                  text(at(x), y0 + 46 + height, f"{x:g}", 10, "middle")]
    parts.append(text(x0 + 40 + width / 2, y0 + 62 + height, comparison.axis, 11, "middle"))
    return parts


def grow(results):
    chosen = [c for c in CATALOGUE if c.show == "growth" and c.name in results]
    if not chosen:
        return None
    parts = [text(16, 26, "CPU microseconds per token as one thing grows", 16, weight="bold")]
    for index, comparison in enumerate(chosen):
        place = 16 + index % 3 * 305, 44 + index // 3 * 205
        parts += curve(comparison, results[comparison.name], *place)
    return picture(940, 44 + (len(chosen) + 2) // 3 * 205, parts)


def pictures(results):
    """SVG by file name."""
    made = {"performance-sides.svg": compare(results), "performance-growth.svg": grow(results)}
    return {name: drawn for name, drawn in made.items() if drawn}
