"""The settings of a photo: their sources, and the messages about wrong values."""

import base64
import json
from email.header import Header, decode_header, make_header
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InputRejected
from shared.intake.settings import (
    FIELDS,
    MAX_EXTRA_BYTES,
    MAX_VARIANTS,
    METADATA_FIELDS,
    Layer,
    check_mask_key,
    folder_file,
    metadata_layer,
    metadata_text,
    odd_json,
    resolve,
)
from shared.models import ErrorCode, SceneType, Settings
from shared.vmake.catalogue import MODELS

DEFAULTS = Layer(
    "the stack's defaults", {"modelId": "002", "sceneType": "original", "batchSize": 4}
)


def made_of(*layers: dict[str, Any]) -> Settings:
    """Resolve these layers, strongest first, over the stack's defaults."""
    named = [Layer(f"source {number}", layer) for number, layer in enumerate(layers, start=1)]
    return resolve([*named, DEFAULTS])


def refusal(*layers: dict[str, Any]) -> str:
    """Return the message with which these layers are refused."""
    with pytest.raises(InputRejected) as caught:
        made_of(*layers)
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    return caught.value.message


# --- values --------------------------------------------------------------------------------------


def test_defaults_alone_are_enough() -> None:
    """A photo without settings gets the stack's."""
    assert made_of() == Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=4)


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ({"modelId": "044"}, "model_id", "044"),
        ({"modelId": " 044 "}, "model_id", "044"),
        ({"modelId": "my-own-model"}, "model_id", "my-own-model"),
        ({"sceneType": "none"}, "scene_type", SceneType.NONE),
        ({"sceneType": "preset", "sceneId": "035"}, "scene_id", "035"),
        ({"sceneType": "color", "color": "#FF8800"}, "color", "#ff8800"),
        ({"batchSize": 1}, "batch_size", 1),
        ({"batchSize": 4}, "batch_size", 4),
        ({"extra": {"a": {"b": [1, None]}}}, "extra", {"a": {"b": [1, None]}}),
        ({"modelId": None, "batchSize": None}, "model_id", "002"),
    ],
)  # fmt: skip
def test_value_is_taken(values: dict[str, Any], name: str, expected: object) -> None:
    """Each field of a request is used; null means not set."""
    assert getattr(made_of(values), name) == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"modelId": 2}, ["modelId", "a string", "a number", '"002"']),
        ({"modelId": True}, ["modelId", "true or false"]),
        ({"modelId": ["002"]}, ["modelId", "a list"]),
        ({"modelId": {}}, ["modelId", "an object"]),
        ({"modelId": ""}, ["modelId", "128"]),
        ({"modelId": "  "}, ["modelId", "128"]),
        ({"modelId": "x" * 129}, ["modelId", "128"]),
        ({"modelId": "\U0001f600" * 33}, ["modelId", "128 bytes"]),
        ({"modelId": "a\nb"}, ["modelId", "printable"]),
        ({"modelId": "a\ud800"}, ["modelId", "printable"]),
        ({"sceneType": "presets"}, ["sceneType", "'presets'", "original, preset, color, none",
                                    "Did you mean 'preset'?"]),
        ({"sceneType": "Original"}, ["sceneType", "Did you mean 'original'?"]),
        ({"sceneType": "beach"}, ["sceneType", "allowed are"]),
        ({"sceneType": 1}, ["sceneType", "a number"]),
        ({"sceneType": "preset"}, ["'preset'", "needs sceneId", "source 1"]),
        ({"sceneType": "color"}, ["'color'", "needs color"]),
        ({"sceneType": "preset", "sceneId": 35}, ["sceneId", '"035"']),
        ({"sceneType": "color", "color": "red"}, ["color", "'red'", "#ff8800"]),
        ({"sceneType": "color", "color": "#fff"}, ["color", "'#fff'"]),
        ({"sceneType": "color", "color": "#gggggg"}, ["color"]),
        ({"sceneType": "color", "color": "#ff88001"}, ["color"]),
        ({"sceneType": "color", "color": 0}, ["color", "a number"]),
        ({"sceneId": "035"}, ["sceneId", "'035'", "'preset'"]),
        ({"sceneType": "original", "sceneId": "035"}, ["sceneId", "'preset'", "'original'"]),
        ({"sceneType": "none", "color": "#ff0000"}, ["color", "'color'", "'none'"]),
        ({"batchSize": 0}, ["batchSize", "0", "1 to 4"]),
        ({"batchSize": 5}, ["batchSize", "5"]),
        ({"batchSize": -1}, ["batchSize"]),
        ({"batchSize": 2.0}, ["batchSize", "2.0"]),
        ({"batchSize": True}, ["batchSize", "True"]),
        ({"batchSize": "4"}, ["batchSize", "'4'"]),
        ({"extra": []}, ["extra", "a list"]),
        ({"extra": "{}"}, ["extra", "a string"]),
        ({"extra": {"image": "x"}}, ["extra", "'image'"]),
        ({"extra": {"mask": "x"}}, ["extra", "'mask'"]),
        ({"extra": {"modelId": "x"}}, ["extra", "'modelId'"]),
        ({"extra": {"batchSize": 9}}, ["extra", "'batchSize'"]),
        ({"extra": {"batch_size": 9}}, ["extra", "'batch_size'", "set batchSize itself"]),
        ({"extra": {"Image": "x"}}, ["extra", "'Image'", "set image itself"]),
        ({"extra": {"x": "y" * MAX_EXTRA_BYTES}}, ["extra", "longer than"]),
        ({"extra": {"x": float("nan")}}, ["extra", "number"]),
        ({"extra": {"x": float("inf")}}, ["extra", "number"]),
        ({"extra": {"x": 1e-300}}, ["extra", "too small"]),
        ({"extra": {"x": [10**38]}}, ["extra", "38 digits"]),
        ({"extra": {"x": "\udc00"}}, ["extra", "half a character"]),
        ({"extra": {"x": {"": 1}}}, ["extra", "empty name"]),
    ],
)  # fmt: skip
def test_value_is_refused_in_words_that_help(values: dict[str, Any], words: list[str]) -> None:
    """A wrong value is named, with its source and what is allowed."""
    message = refusal(values)
    for word in [*words, "source 1"]:
        assert word in message
    assert message.endswith((".", "?"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batchSize": "4" * 90_000}, ["batchSize", "'444", "1 to 4"]),
        ({"sceneType": "s" * 90_000}, ["sceneType", "'sss", "128 bytes"]),
    ],
)
def test_what_is_wrong_with_a_long_value_is_said(values: dict[str, Any], words: list[str]) -> None:
    """The message about a long value still says what is wrong."""
    message = refusal(values)
    assert len(message) < 500
    for word in words:
        assert word in message


def test_extra_may_not_name_any_field_of_ours() -> None:
    """`extra` cannot set a field that Catwalk checks."""
    for name in (*FIELDS, "image", "mask"):
        assert f"'{name}'" in refusal({"extra": {name: "x"}})


@given(
    layer=st.dictionaries(
        st.sampled_from(FIELDS),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    )
)  # fmt: skip
def test_any_values_are_settings_or_refused(layer: dict[str, Any]) -> None:
    """Any JSON is either usable or bad_settings."""
    try:
        made = made_of(layer)
    except InputRejected as rejected:
        code = rejected.code
    else:
        code = ErrorCode.BAD_SETTINGS
        assert 1 <= made.batch_size <= 4
        assert (made.scene_type is SceneType.PRESET) == (made.scene_id is not None)
        assert (made.scene_type is SceneType.COLOR) == (made.color is not None)
        json.dumps(made.extra, allow_nan=False).encode()
    assert code is ErrorCode.BAD_SETTINGS


# --- ids and names -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[(id_, id_) for id_ in MODELS],
        *[(spelling(name), id_) for id_, name in MODELS.items()
          for spelling in (str, str.lower, str.upper)],
        (" Clara ", "002"),
        *[(id_, id_) for id_ in ("005", "008", "9999", "440", "m2", "x" * 128, "my-own-model")],
        *[(id_, id_) for id_ in ("private-7f3a_b.2", "private-002", "maria")],
    ],
)  # fmt: skip
def test_model_is_its_id_or_a_known_name(text: str, expected: str) -> None:
    """A known name means its id in any case of letters; an id that is not listed passes."""
    assert made_of({"modelId": text}).model_id == expected


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        *[(text, "'002' (Clara)") for text in ("02", "2", "0002", "OO2", "0 02", "#002", "002.")],
        *[(text, "'002' (Clara)") for text in ("claro", "clare", "Clarra", "lara", "clara 002")],
        *[(text, "'003' (Jamila)") for text in ("003 Jamila", "Jamila (003)", "jamilla")],
        *[(text, "'002' (Clara)") for text in ("model 002", "model-002", "'002'")],
        *[(text, "'004' (Mia)") for text in ("mai", "miia", "4")],
        ("44", "'044' (Lavanya)"),
    ],
)
def test_what_nearly_is_a_known_model_is_refused(text: str, meant: str) -> None:
    """A typing error would cost a credit for the wrong model; the message names the right one."""
    message = refusal({"modelId": text})
    assert f"modelId in source 1 is {text!r}, which is no model id" in message
    assert message.endswith(f"Did you mean {meant}?")


@pytest.mark.parametrize("text", ["../../etc", "..", "a/b", "my model", "é", "-1", "a\\b", "002;x"])
@pytest.mark.parametrize("field", ["modelId", "sceneId"])
def test_characters_that_no_id_has_are_refused(field: str, text: str) -> None:
    """An id is a part of a result's key, and of nothing but letters, digits, dots, `-` and `_`."""
    message = refusal({"sceneType": "preset", "sceneId": "035", field: text})
    assert f"{field} in source 1 is {text!r}" in message


@pytest.mark.parametrize(
    ("text", "meant"),
    [("35", "035"), ("0035", "035"), ("preset-035", "035"), ("scene 33", "033"), ("1", "001")],
)
def test_what_nearly_is_a_known_scene_is_refused(text: str, meant: str) -> None:
    """A scene's number without its zeros is another id to the vendor."""
    message = refusal({"sceneType": "preset", "sceneId": text})
    assert message.endswith(f"Did you mean {meant!r}?")


@pytest.mark.parametrize("text", ["033", "001", "037", "beach_2", "private-x"])
def test_scene_ids_pass(text: str) -> None:
    """Known and unknown scene ids are accepted."""
    assert made_of({"sceneType": "preset", "sceneId": text}).scene_id == text


def test_default_model_may_be_a_name() -> None:
    """DefaultModelId, too, may be given by name, and is refused when it is misspelt."""
    named = Layer("the stack's defaults", {**DEFAULTS.values, "modelId": "mia"})
    assert resolve([named]).model_id == "004"
    misspelt = Layer("the stack's defaults", {**DEFAULTS.values, "modelId": "02"})
    with pytest.raises(InputRejected, match="modelId in the stack's defaults is '02'"):
        resolve([misspelt])


@pytest.mark.parametrize(
    ("photo", "mask"),
    [("a/x.jpg", "a/m.png"), ("a/x.jpg", "a/b/m.png"), ("x.jpg", "m.png"), ("x.jpg", "a/m.png")],
)
def test_mask_in_the_photos_folder_or_below(photo: str, mask: str) -> None:
    """A photo's metadata may name a mask of its own folder; at the bucket's top, of any."""
    check_mask_key(mask, photo)


@pytest.mark.parametrize(
    ("photo", "mask"),
    [
        ("a/x.jpg", "m.png"),
        ("a/x.jpg", "b/m.png"),
        ("a/x.jpg", "ab/m.png"),
        ("a/b/x.jpg", "a/m.png"),
        ("a/x.jpg", "a/../b/m.png"),
        ("a/x.jpg", "a/./m.png"),
        ("a/x.jpg", "/a/m.png"),
    ],
)
def test_mask_of_another_folder_is_refused(photo: str, mask: str) -> None:
    """The settings of a folder cannot send another folder's objects to the vendor as a mask."""
    with pytest.raises(InputRejected, match="own folder 'a/") as caught:
        check_mask_key(mask, photo)
    assert caught.value.code is ErrorCode.MASK_MISMATCH
    assert repr(mask) in caught.value.message


# --- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([{"modelId": "m1"}, {"modelId": "m2", "batchSize": 2}], ("m1", 2, "original")),
        ([{}, {"modelId": "m2"}, {"modelId": "m3", "batchSize": 3}], ("m2", 3, "original")),
        ([{"modelId": None}, {"modelId": "m2"}], ("m2", 4, "original")),
        ([{"sceneType": "none"}, {"sceneType": "preset", "sceneId": "101"}], ("002", 4, "none")),
        ([{"sceneType": "none"}, {"sceneId": "101"}], ("002", 4, "none")),
        (
            [{"sceneType": "preset"}, {"sceneType": "color", "color": "#000000", "sceneId": "7"}],
            ("002", 4, "preset-7"),
        ),
        ([{"sceneId": "9"}, {"sceneType": "preset", "sceneId": "101"}], ("002", 4, "preset-9")),
        ([{"color": "#FFFFFF"}, {"sceneType": "color"}], ("002", 4, "color-ffffff")),
    ],
)
def test_first_found_wins_value_by_value(
    layers: list[dict[str, Any]], expected: tuple[str, int, str]
) -> None:
    """The strongest source decides each value; unused values are left out."""
    made = made_of(*layers)
    assert (made.model_id, made.batch_size, made.scene) == expected


def test_stronger_scene_id_against_a_weaker_scene_type_is_a_contradiction() -> None:
    """Metadata with a scene id, under a folder that keeps the background, is refused."""
    message = refusal({"sceneId": "035"}, {"sceneType": "original"})
    assert "sceneId '035' in source 1" in message


def test_scene_id_among_the_defaults_waits_for_its_scene() -> None:
    """DefaultSceneId applies only to photos with the scene type preset."""
    defaults = Layer("defaults", {**DEFAULTS.values, "sceneId": "033"})
    assert resolve([defaults]).scene_id is None
    assert resolve([Layer("x", {"sceneType": "preset"}), defaults]).scene_id == "033"


def test_wrong_value_of_a_weaker_source_does_no_harm() -> None:
    """An overridden value is not checked."""
    assert made_of({"modelId": "m1"}, {"modelId": 7}).model_id == "m1"


@pytest.mark.parametrize("missing", ["modelId", "sceneType", "batchSize"])
def test_missing_value_is_named(missing: str) -> None:
    """If no source gives a needed value, the message says which."""
    values = {name: value for name, value in DEFAULTS.values.items() if name != missing}
    with pytest.raises(InputRejected, match=missing):
        resolve([Layer("x", values)])


# --- metadata ------------------------------------------------------------------------------------


def test_metadata_sets_every_field() -> None:
    """Each documented metadata name sets its field; other names are ignored."""
    layer = metadata_layer(
        {
            "model-id": "001",
            "scene-type": "preset",
            "scene-id": "035",
            "color": "#112233",
            "batch-size": " 3 ",
            "extra": '{"a": 1.5}',
            "sku": "s",
            "camera": "x",
        }
    )
    assert layer.values == {
        "modelId": "001",
        "sceneType": "preset",
        "sceneId": "035",
        "color": "#112233",
        "batchSize": 3,
        "extra": {"a": 1.5},
    }
    assert set(layer.values) == set(METADATA_FIELDS.values())


def test_metadata_names_are_no_matter_of_case() -> None:
    """Metadata names may have capitals."""
    assert metadata_layer({"Model-Id": "001"}).values == {"modelId": "001"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("modelid", "model-id"),
        ("model_id", "model-id"),
        ("modelId", "model-id"),
        ("Scene.Type", "scene-type"),
        ("batchsize", "batch-size"),
        ("request_id", "request-id"),
    ],
)
def test_misspelt_metadata_name_costs_nothing(name: str, meant: str) -> None:
    """A misspelt metadata name of ours is refused."""
    with pytest.raises(InputRejected, match=f"'{name}'. Did you mean '{meant}'?"):
        metadata_layer({name: "003"})


@pytest.mark.parametrize("name", ["camera", "model", "scene", "colour", "mtime", "x-mask-by"])
def test_names_of_other_tools_in_metadata_are_let_be(name: str) -> None:
    """Metadata of other programs is ignored."""
    assert metadata_layer({name: "x"}).values == {}


@pytest.mark.parametrize("text", ["", "four", "4.0", "-1", "٤", "1e1", "9999"])
def test_batch_size_in_metadata_must_be_a_number(text: str) -> None:
    """A batch-size that is no whole number is refused with its value."""
    with pytest.raises(InputRejected, match="batch-size") as caught:
        metadata_layer({"batch-size": text})
    assert repr(text) in caught.value.message


@pytest.mark.parametrize(
    "text", ["", "{", "{'a': 1}", "NaN", '{"a": NaN}', "[" * 990, '"\\ud800"', '{"a": 1, "a": 2}']
)
def test_extra_in_metadata_must_be_json(text: str) -> None:
    """An invalid `extra` is refused."""
    with pytest.raises(InputRejected, match="extra"):
        metadata_layer({"extra": text})


@pytest.mark.parametrize("name", ["sku", "request-id"])
def test_ids_in_metadata_are_as_short_as_elsewhere(name: str) -> None:
    """A sku or request-id of more than 256 characters is refused, as in events."""
    assert metadata_layer({name: "ü" * 256}).values == {}
    with pytest.raises(InputRejected, match=f"{name} has 257 characters; at most 256"):
        metadata_layer({name: "ü" * 257})


def test_no_metadata_is_longer_than_an_index_takes() -> None:
    """An encoded word that decodes to more than its limit is kept as it is."""
    word = f"=?iso-8859-1?b?{base64.b64encode(bytes([252]) * 1_400).decode()}?="
    assert len(word) < 2_048 < len(str(make_header(decode_header(word))).encode())
    assert metadata_text(word) == word


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1"])
def test_non_ascii_metadata_is_read(charset: str) -> None:
    """Metadata in RFC 2047 words, as S3 returns it, is decoded."""
    word = Header("Kleid für März", charset).encode()
    assert word.startswith("=?")
    assert metadata_text(word) == "Kleid für März"


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "=?utf-8?q?=ff?=",
        "=?nonsense?q?a?=",
        "=?utf-8?b?abc?=",
        "=?unicode_escape?q?=5Cud800?=",
        "=?\0?q?a?=",
        "=?rot13?q?abc?=",
        "=?",
    ],
)
def test_strange_metadata_is_left_as_it_is(text: str) -> None:
    """Text that only looks like an RFC 2047 word is kept as it is."""
    assert metadata_text(text) == text


@given(st.text(st.characters(max_codepoint=255), max_size=40).map(lambda text: f"=?{text}"))
def test_no_metadata_breaks_reading(text: str) -> None:
    """Any metadata becomes a text that a record can hold."""
    assert odd_json(metadata_text(text)) is None


@given(
    charset=st.sampled_from(["utf-7", "utf-16", "unicode_escape", "idna", "hex", "utf-8", "gbk"]),
    encoding=st.sampled_from("qbQBx"),
    text=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
)
def test_no_encoded_word_breaks_reading(charset: str, encoding: str, text: str) -> None:
    """The same for words with any charset that Python knows."""
    assert odd_json(metadata_text(f"=?{charset}?{encoding}?{text}?=")) is None


# --- catwalk.json --------------------------------------------------------------------------------


def test_folder_file_has_values_variants_and_sku() -> None:
    """A catwalk.json sets values for its folder, the variants to make and the article number."""
    found = folder_file(
        '{"modelId": "003", "sku": "S-1", "variants": [{"batchSize": 1}, {"sceneType": "none"}]}',
        "a/catwalk.json",
    )
    assert found.base == Layer("a/catwalk.json", {"modelId": "003"})
    assert [layer.values for layer in found.variants] == [{"batchSize": 1}, {"sceneType": "none"}]
    assert found.variants[1].origin == "a/catwalk.json: variants entry 2"
    assert found.sku == "S-1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["no valid JSON"]),
        ("{", ["no valid JSON"]),
        ("[]", ["a JSON object", "a list"]),
        ("null", ["a JSON object", "null"]),
        ('{"modelid": "1"}', ["'modelid'", "Did you mean 'modelId'?"]),
        ('{"model-id": "1"}', ["Did you mean 'modelId'?"]),
        ('{"model_id": "1"}', ["Did you mean 'modelId'?"]),
        ('{"scene": "x"}', ["'scene'", "known are modelId"]),
        ('{"variant": []}', ["Did you mean 'variants'?"]),
        ('{"variants": {}}', ["variants", "an object"]),
        ('{"variants": null}', ["variants", "null"]),
        ('{"variants": []}', ["0 entries"]),
        (json.dumps({"variants": [{}] * (MAX_VARIANTS + 1)}), ["21 entries", "1 to 20"]),
        ('{"variants": ["002"]}', ["entry 1", "a string"]),
        ('{"variants": [{}, {"bachSize": 1}]}', ["entry 2", "Did you mean 'batchSize'?"]),
        ('{"variants": [{"sku": "x"}]}', ["entry 1", "'sku'"]),
        ('{"sku": 5}', ["sku", "a number"]),
        (json.dumps({"sku": "x" * 257}), ["sku", "256"]),
        ('{"extra": {"x": Infinity}}', ["number"]),
        ("[" * 100_000, ["no valid JSON"]),
        ('{"batchSize": ' + "9" * 5_000 + "}", ["no valid JSON", "number", "too long"]),
        ('{"batchSize": 1, "batchSize": 4}', ["'batchSize' twice", "keep one"]),
        ('{"variants": [{}], "variants": [{"batchSize": 1}]}', ["'variants' twice"]),
        ('{"extra": {"a": 1, "a": 1}}', ["'a' twice"]),
        ('{"extra": ' + "[" * 30 + "]" * 30 + "}", ["20 deep"]),
    ],
)
def test_folder_file_is_refused_in_words_that_help(text: str, words: list[str]) -> None:
    """The message about an invalid catwalk.json names the file and what is wrong."""
    with pytest.raises(InputRejected) as caught:
        folder_file(text, "a/catwalk.json")
    for word in [*words, "a/catwalk.json"]:
        assert word in caught.value.message
    assert caught.value.code is ErrorCode.BAD_SETTINGS


def test_folder_file_with_a_long_key_says_what_is_wrong() -> None:
    """A catwalk.json deep down is named by both ends of its key, and what is wrong is said."""
    with pytest.raises(InputRejected, match=r"d/d/.*….*d/catwalk\.json has the unknown name 'x'"):
        folder_file('{"x": 1}', "d/" * 500 + "catwalk.json")


@given(st.text(max_size=60))
def test_no_text_breaks_the_folder_file(text: str) -> None:
    """Any text is a valid folder file or bad_settings."""
    with pytest.raises(InputRejected) as caught:  # none of these texts can be a good one
        folder_file(f"?{text}", "catwalk.json")
    assert caught.value.code is ErrorCode.BAD_SETTINGS
