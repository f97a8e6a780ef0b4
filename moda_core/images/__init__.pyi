from .decoding import FORMATS, LARGEST_SIDE, ImageError, Recipe, Stored, decode, image_pixels

__all__ = ["FORMATS", "LARGEST_SIDE", "ImageError", "Recipe", "Stored", "decode", "image_pixels"]
