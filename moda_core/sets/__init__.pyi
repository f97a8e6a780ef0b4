from .classifier import Classifier
from .export import check_export_path, export_modules
from .layout import FILE_NAME, LARGEST_MANIFEST, LARGEST_WEIGHTS, MANIFEST, SHA256, WEIGHTS
from .manifest import check_file, check_manifest_size, check_size, parse_manifest
from .module_file import Modules, ModuleSet, load_modules, open_modules, read_manifest
from .preprocessing import BATCH, Pictures, Preprocessing
from .replaced import ReplacedModules, is_replaced, load_replaced, save_replaced
from .replacement import (
    ClassAccuracy,
    RawImages,
    ReplacedClass,
    Replacement,
    ReplacementAccuracy,
    replace_class,
    replacement_accuracy,
)
from .saving import save_modules, slice_modules
from .whole import whole_network

__all__ = [
    "BATCH",
    "FILE_NAME",
    "LARGEST_MANIFEST",
    "LARGEST_WEIGHTS",
    "MANIFEST",
    "SHA256",
    "WEIGHTS",
    "ClassAccuracy",
    "Classifier",
    "ModuleSet",
    "Modules",
    "Pictures",
    "Preprocessing",
    "RawImages",
    "ReplacedClass",
    "ReplacedModules",
    "Replacement",
    "ReplacementAccuracy",
    "check_export_path",
    "check_file",
    "check_manifest_size",
    "check_size",
    "export_modules",
    "is_replaced",
    "load_modules",
    "load_replaced",
    "open_modules",
    "parse_manifest",
    "read_manifest",
    "replace_class",
    "replacement_accuracy",
    "save_modules",
    "save_replaced",
    "slice_modules",
    "whole_network",
]
