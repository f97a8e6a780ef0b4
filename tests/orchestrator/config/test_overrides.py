"""Overrides: what was typed is what is meant, or one line says how to write it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cli.command_line import main
from orchestrator.config.composing import load_config, override_config, storage_of
from orchestrator.config.overrides import declared_type, is_override, known_keys, read_overrides
from orchestrator.errors import ConfigError

LIKE_NUMBERS = ["2024_01_15", "1_0", "12e3", "1e3", "1.5", "0x10", "007", "nan", "true", "2024-01-15", "1:30", "inf"]
PATHS = [
    "/data/größe",
    "/a=b",
    "/run (1)",
    "/a,b",
    "/it's",
    "/a\\b",
    "/a$b{c}",
    '/"a"',
    "/a b",
    "/[x]",
    "/a\\",
    "/x:y*?",
]
# Neither quoted as a whole, nor with Hydra's ${...}, nor with spaces around it.
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1).filter(
    lambda text: text == text.strip(" \t") and "${" not in text and text.lower() != "null" and text[0] not in "'\""
)


@pytest.mark.parametrize("text", [*LIKE_NUMBERS, "null"])
def test_text_that_looks_like_something_else_stays_text(text):
    assert load_config([f"tracking.project={text}"]).tracking.project == text
    assert load_config([f"data.classes=[{text},b]"]).data.classes == (text, "b")


@pytest.mark.parametrize("name", ["2024_01_15", "1_0", "12e3", "1e3", "2024-01-15", "007", "0x10", "nan", "true"])
def test_a_sweep_is_called_as_typed(name):
    config = load_config([f"sweep.name={name}", f"search.warm_start=[{name}-before]"])
    assert config.sweep.name == name
    assert config.search.warm_start == (f"{name}-before",)


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_taken_as_typed(path):
    overrides = ["data=table", f"storage={path}", f"data.path={path}", f"training.init_from={path}"]
    config = load_config(overrides)
    assert (config.storage, config.data.path, config.training.init_from) == (path, path, path)
    assert override_config(load_config([]), overrides[1:]).data.path == path
    quoted = load_config([f"""storage='{path.replace("'", chr(92) + "'")}'"""]) if "\\" not in path else config
    assert quoted.storage == path


@settings(deadline=None)
@given(TEXT)
def test_any_text_is_taken_as_typed(text):
    (override,) = read_overrides([f"tracking.entity={text}"])
    assert override.value() == text


@settings(deadline=None)
@given(st.lists(TEXT.filter(lambda text: "," not in text and text[0] not in "[{"), min_size=2, unique=True))
def test_any_list_of_texts_is_taken_as_typed(names):
    (override,) = read_overrides([f"data.classes=[{','.join(names)}]"])
    assert override.value() == names


PLACES = ["/there", "~/größe", "s3://bucket/some.prefix", "a,b", "'/quoted'", "${oc.env:HERE}"]


@pytest.mark.parametrize("place", PLACES)
def test_the_storage_is_the_same_whether_or_not_hydra_reads_it(monkeypatch, place):
    monkeypatch.setenv("HERE", "/there")
    assert storage_of([f"storage={place}"]) == load_config([f"storage={place}"]).storage
    monkeypatch.setenv("MODA_STORAGE", place)
    assert storage_of([]) == load_config([]).storage == place
    monkeypatch.delenv("MODA_STORAGE")
    assert storage_of([]) == load_config([]).storage == "~/moda-results"


@pytest.mark.parametrize("path", ["photos", "photos/*.parquet", "ph[0]tos"])
def test_data_are_found_under_the_root_and_then_in_the_working_folder(path, tmp_path, monkeypatch):
    root, here = tmp_path / "root", tmp_path / "here"
    root.mkdir()
    for name in ("photos", "ph[0]tos"):
        (here / name).mkdir(parents=True)
        (here / name / "a.parquet").touch()
    monkeypatch.chdir(here)
    monkeypatch.setenv("MODA_DATA_DIR", str(root))
    asked = ["data=table", f"data.path='{path}'", f"data.test_path='{path}'"]
    data = load_config(asked).data
    assert (data.path, data.test_path, data.root) == (str(here / path), str(here / path), str(root))
    (root / "photos").mkdir()
    (root / "photos" / "b.parquet").touch()
    (root / "ph[0]tos").touch()
    assert load_config(asked).data.path == path  # the root comes first
    assert load_config(["data=table", "data.path=nowhere"]).data.path == "nowhere"
    assert load_config(["data=table", "data.path=s3://bucket/photos"]).data.path == "s3://bucket/photos"


def test_null_quotes_and_interpolation_stay_what_hydra_means(monkeypatch):
    monkeypatch.setenv("HERE", "/there")
    config = load_config(["sweep.name=null", "storage=${oc.env:HERE}/größe", "tracking.project='a, b'"])
    assert (config.sweep.name, config.storage, config.tracking.project) == (None, "/there/größe", "a, b")
    assert load_config(["sweep.name='null'"]).sweep.name == "null"
    assert load_config(["data.classes=['a,b', \"c\", d e]"]).data.classes == ("a,b", "c", "d e")
    assert load_config([r"storage=/a/\${x}"]).storage == "/a/${x}"


WRONG = {
    "training.epochs=1_0": "write a number without _",
    "search.space.alpha.low=1_0": "write a number without _",
    "model.hidden=[1_2]": "write a number without _",
    "experiment=2024_01": "write a number without _, and text in quotes: experiment=",
    "training.epochs=1,2": r"give one value; write a list as \[1,2\]",
    "training.epochs=(3": "cannot be read as key=value; .* quotes",
    "training.epochs=3\xa0": r"\\xa0' cannot be read",
    "\N{EN DASH}training.epochs=3": r"\(U\+2013\); type the key again",
    "training.epochs\xa0=3": r"U\+00A0",
    "data.classes=3,5": r"data.classes='3,5' must be a list, as data.classes=\[a,b\]",
    "data.classes=[a,[b]]": "must be of type str",
    "storage=": "storage= is empty; give a value$",
    "sweep.name=": "sweep.name= is empty; give a value, or null for none",
    "storage=/a/${x}": r"write \\\$\{",
    "training.epoch=3": r"unknown key training.epoch \(did you mean training.epochs\?\); known: ",
    "trainin.epochs=3": r"unknown key trainin \(did you mean training\?\)",
    "epochs=3": r"unknown key epochs \(did you mean training.epochs\?\)",
    "mode1=vgg16": r"unknown key mode1 \(did you mean model\?\)",
    "seed=3": "did you mean data.seed or training.seed",
    "sweep.name=1.5": "quoted or not, use 1 to 64 of .* such as 1-5",
    "sweep.name=My Sweep": "such as my-sweep",
    "data.seed=4294967296": "data.seed=4294967296: must be a whole number from 0 to 4294967295",
    "training.seed=9223372036854775808": "training.seed=.* from 0 to 9223372036854775807",
    "search.seed=99999999999999999999": "search.seed=.* from 0 to 9223372036854775807",
    "evaluation.seed=-1": "evaluation.seed=-1: must be a whole number from 0",
}


@pytest.mark.parametrize("override", WRONG)
def test_what_cannot_be_meant_is_one_line(override):
    with pytest.raises(ConfigError, match=WRONG[override]) as refused:
        load_config([override])
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) <= 500


@pytest.mark.parametrize("text", ["1e3", "yes", "1.5"])
def test_text_of_a_file_that_yaml_reads_as_something_else_is_refused(text):
    """Which a file writes without quotes; an override may give the same to a mapping."""
    value = {"1e3": 1000.0, "yes": True, "1.5": 1.5}[text]
    with pytest.raises(ConfigError, match=r"tracking.project=.* must be text: put it in quotes"):
        override_config(load_config([]), [f"tracking={{project: {value}}}"])


def test_every_key_is_declared_and_known_from_a_class_name():
    for key in known_keys():
        assert declared_type(key) is not None
        assert is_override(f"{key}=x")
    assert is_override("storage=/x")
    assert is_override("~search.objectives.flops=min")
    for word in ("a=b", "cat", "data", "storage", "store=x", "x.data=3", "storage.x=1"):
        assert not is_override(word)


def test_overrides_may_stand_before_what_a_command_asks_for(tmp_path, capsys):
    assert main(["query", f"storage={tmp_path}", "mine", "select number from trials where event = 'finished'"]) == 2
    assert "sweep 'mine' is not in the storage" in capsys.readouterr().err
    missing = str(tmp_path / "weak")
    assert main(["replace", "data.seed=1", missing, missing, "--class", "model.a=b"]) == 2
    assert missing in capsys.readouterr().err


def test_a_class_whose_name_holds_an_equals_sign_is_a_class(tmp_path, capsys):
    pull = ["pull", str(tmp_path / "nowhere"), "--to", str(tmp_path / "to")]
    assert main([*pull, "--classes", "a=b", "c", "storage=/x"]) == 2
    assert "storage=/x: only pulling a sweep's point takes overrides" in capsys.readouterr().err
    assert main([*pull, "--classes", "a=b", "c"]) == 2
    assert "is not a folder here" in capsys.readouterr().err


@pytest.mark.parametrize("dash", ["\N{EN DASH}", "\N{EM DASH}", "-\N{EN DASH}"])
def test_a_typographic_dash_is_named(dash, capsys):
    with pytest.raises(SystemExit) as refused:
        main(["pull", "sweep:mine/best", f"{dash}classes", "x"])
    assert refused.value.code == 2
    assert "begins with a typographic dash; type --classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    "override",
    [
        "~training",
        "~data",
        "training=null",
        "training." + "x" * 300 + "=1",
        "training.seed=" + "9" * 5000,
        "training.batch_size=" + "9" * 30,
        "training.epochs=" + "x" * 2000,
        "sweep.trials=1000000000000000000000",
        "storage=s3://",
        "storage=a\0b",
    ],
)
def test_what_is_odd_is_refused_in_one_short_line(override, capsys):
    assert main(["sweep", override]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert len(printed) <= 501
