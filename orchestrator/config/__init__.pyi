from .checks import SEEDS
from .choice import COLUMNS, TARGETS, Choice, free_name, short_name
from .composing import chosen_files, compose_config, override_config, path_here, storage_of
from .config import Config, parse_config, to_plain
from .data_section import AUTO, FILE, MEMORY, RANDOM, RANDOM_RESIZED, SKIP, STATISTICS, STRETCH, DataConfig
from .evaluation_section import EvaluationConfig
from .groups import GROUPS, choices_of, config_dir_word
from .identities import (
    FINGERPRINTS,
    PLACES,
    Fingerprints,
    comparable,
    difference,
    identity,
    identity_hash,
    recorded_fingerprints,
    weights_fingerprint,
)
from .keys import ListedKey, entry_keys, list_keys, network_keys
from .mixed import METHOD, MethodSettings, method_and_key, without_method_names
from .model_names import GIVEN, TORCHVISION, check_model_name, is_own_model
from .overrides import absolute, is_cut_short, is_override, known_keys, meant, named_storage
from .parsing import as_plain, build
from .published import HOURS, Published, PublishedRow, read_published
from .recipe import recipe_words
from .recorded import read_recorded
from .search_section import Dimension, Objective, SearchConfig
from .sections import MethodConfig, TrackingConfig
from .space import check_space, corners
from .training_section import TrainingConfig
from .words import override_words, text_word

__all__ = [
    "AUTO",
    "COLUMNS",
    "FILE",
    "FINGERPRINTS",
    "GIVEN",
    "GROUPS",
    "HOURS",
    "MEMORY",
    "METHOD",
    "PLACES",
    "RANDOM",
    "RANDOM_RESIZED",
    "SEEDS",
    "SKIP",
    "STATISTICS",
    "STRETCH",
    "TARGETS",
    "TORCHVISION",
    "Choice",
    "Config",
    "DataConfig",
    "Dimension",
    "EvaluationConfig",
    "Fingerprints",
    "ListedKey",
    "MethodConfig",
    "MethodSettings",
    "Objective",
    "Published",
    "PublishedRow",
    "SearchConfig",
    "TrackingConfig",
    "TrainingConfig",
    "absolute",
    "as_plain",
    "build",
    "check_model_name",
    "check_space",
    "choices_of",
    "chosen_files",
    "comparable",
    "compose_config",
    "config_dir_word",
    "corners",
    "difference",
    "entry_keys",
    "free_name",
    "identity",
    "identity_hash",
    "is_cut_short",
    "is_override",
    "is_own_model",
    "known_keys",
    "list_keys",
    "meant",
    "method_and_key",
    "named_storage",
    "network_keys",
    "override_config",
    "override_words",
    "parse_config",
    "path_here",
    "read_published",
    "read_recorded",
    "recipe_words",
    "recorded_fingerprints",
    "short_name",
    "storage_of",
    "text_word",
    "to_plain",
    "weights_fingerprint",
    "without_method_names",
]
