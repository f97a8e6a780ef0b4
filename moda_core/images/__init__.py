"""Pixels of images: encoded files, Pillow's images and arrays as what a network was trained on. Needs Pillow.

May import no other room.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
