"""Images for the tests."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw

from common.jobs import InputInfo

#: An image as a job's record has it, for jobs whose file nobody reads.
IMAGE = InputInfo(filename="ball.jpg", sha256="d0", bytes=3, format="JPEG", width=320, height=240)


def drawing(colour: str = "seagreen", size: tuple[int, int] = (320, 240)) -> Image.Image:
    """An image of a ball in `colour` between sky and ground."""
    image = Image.new("RGB", size, "skyblue")
    draw = ImageDraw.Draw(image)
    width, height = size
    draw.rectangle((0, height * 2 // 3, width, height), fill="peru")
    draw.ellipse((width // 3, height // 3, width // 3 + height // 2, height // 3 + height // 2), fill=colour)
    return image


def encoded(image: Image.Image | None = None, format: str = "JPEG") -> bytes:
    """The image as the bytes of a file."""
    buffer = io.BytesIO()
    (image or drawing()).save(buffer, format)
    return buffer.getvalue()


def numbered(count: int) -> list[bytes]:
    """`count` different images as JPEG files."""
    return [encoded(drawing(f"hsl({number * 360 // count}, 70%, 50%)")) for number in range(count)]
