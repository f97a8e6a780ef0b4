from .decoding import FORMATS, LARGEST_SIDE, ImageError, Recipe, decode, image_pixels

__all__ = ["FORMATS", "LARGEST_SIDE", "ImageError", "Recipe", "decode", "image_pixels"]
