"""The files of a module set: their names, and how large they may be. Loads no PyTorch."""

import re

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
LARGEST_MANIFEST = 8 * 2**20  # bytes; a ResNet-152's has 0.4 MiB
LARGEST_WEIGHTS = 8 * 2**30  # bytes; two thousand million float32 parameters: fifteen times VGG16
# "*.part" is what an interrupted write leaves, and the garbage collector removes.
FILE_NAME = re.compile(r"(?!.*\.part\Z)[a-z0-9][a-z0-9_.-]{0,99}")
SHA256 = re.compile(r"[0-9a-f]{64}")
