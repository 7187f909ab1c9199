"""A page with every kind of section, and names that try to break out of it."""

from __future__ import annotations

import io

from PIL import Image
from pydantic import Field

from besana.config import Settings
from besana.workspace import Picture, Pictures, Plot, Report, Table, Text

EVIL = '"><img src=x onerror=alert(1)>\u202e</script><script>alert(2)</script>'


class Config(Settings):
    """Settings of the stage that the tests play."""

    blur_below: float = Field(default=40.0, description="Sharpness.")
    classes: list[str] = Field(default=[], description="Classes.")


def jpeg(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (shade, 255 - shade, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


def fill(report: Report) -> None:
    """Put every kind of section on a page, with names that try to break out of it."""
    report.count_in(4109)
    report.drop("near_duplicate", 123)
    report.drop("dark", 31)
    report.drop(EVIL, 2)
    report.count_out(4109 - 156)
    report.fact("frames_per_s", 312.6)
    report.fact("read_bytes", 3_240_000_000)
    report.fact("engine", EVIL)
    report.add(
        Table(
            "Dropped",
            ["Camera", "light", "dark_share", "Count"],
            [[EVIL, "ir", 0.5, 12], ["pen-a", "day", 0.021, 1_234_567], ["pen-b", "day", 0.3, 9]],
            note=EVIL,
        )
    )
    report.add(Pictures("Pictures", [Picture(jpeg(shade), f"{EVIL} {shade}") for shade in (9, 99)]))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="20"><text y="9">{}</text></svg>'
    )
    plots = {"en": svg.format("hours"), "es": svg.format("horas")}
    report.add(Plot("Hours a day", plots, note=EVIL))
    report.add(Text("Files", f"{EVIL}\n\nSecond paragraph."))
