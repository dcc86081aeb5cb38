"""Pictures put together: tiles in rows, and a line of text above a tile."""

from PIL import Image, ImageDraw, ImageFont


def grid(tiles: list[Image.Image], columns: int, gap: int) -> Image.Image:
    """Tiles of one size, row by row, `gap` pixels of white between them."""
    width, height = tiles[0].size
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % columns * (width + gap), number // columns * (height + gap)))
    return sheet


def captioned(tile: Image.Image, text: str, height: int, place: tuple[int, int], size: int) -> Image.Image:
    """The tile below a white band of `height` pixels with `text` at `place`, in letters of `size` pixels."""
    picture = Image.new("RGB", (tile.width, tile.height + height), "white")
    picture.paste(tile, (0, height))
    ImageDraw.Draw(picture).text(place, text, fill=(20, 20, 20), font=ImageFont.load_default(size=size))
    return picture
