"""Write a picture twice, for light and for dark pages, and keep the numbers that it shows.

The numbers of a picture whose measurement takes minutes lie in ``docs/pictures/numbers``: it can be drawn again
without a new measurement, and both versions show the same.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from tidecast.flows.reporting.figure import Picture
from tidecast.forecasting.plotting.palette import DARK, LIGHT, Theme

HERE = Path(__file__).parent
THEMES = {"": LIGHT, "_dark": DARK}
"""End of the file's name to its colours."""


def write_both(light: Path, png_of: Callable[[Theme], bytes]) -> None:
    """Write NAME.png and NAME_dark.png with 128 colours, which take a quarter of the room and are enough.

    Parameters
    ----------
    light : Path
        NAME.png.
    png_of : callable
        Takes the colours and returns the content of a PNG.
    """
    for suffix, theme in THEMES.items():
        image = Image.open(io.BytesIO(png_of(theme))).convert("RGB").quantize(128, dither=Image.Dither.NONE)
        image.save(light.with_stem(light.stem + suffix), optimize=True)


def write(name: str, draw: Callable[[Theme], Picture]) -> None:
    """Write docs/pictures/NAME.png and docs/pictures/NAME_dark.png.

    Parameters
    ----------
    name : str
    draw : callable
        Takes the colours and returns the picture.
    """
    write_both(HERE / f"{name}.png", lambda theme: draw(theme).png(theme))


def kept(name: str) -> dict[str, Any]:
    """Return the numbers of a picture, as they were measured last.

    Parameters
    ----------
    name : str
    """
    return json.loads((HERE / "numbers" / f"{name}.json").read_text(encoding="utf-8"))


def keep(name: str, numbers: dict[str, Any]) -> None:
    """Write the numbers of a picture, a line for each entry.

    Parameters
    ----------
    name : str
    numbers : dict
        Names to what JSON can hold.
    """
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in numbers.items()]
    path = HERE / "numbers" / f"{name}.json"
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
