"""Test the encryption of values at rest."""

from __future__ import annotations

import base64
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery.config import Settings, SettingsError
from scrape_do_celery.config.secrets import encryption_keys
from scrape_do_celery.errors import ConfigurationError, EncryptionKeyError, RefusedValueError, ScrapeDoError
from scrape_do_celery.store import Keys
from scrape_do_celery.store.encryption import ENCRYPTED_PREFIX, Encryptor, PrivateValues

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
CONTEXT = "p:run:r spec"


def text(*keys):
    return ",".join(base64.b64encode(key).decode() for key in keys)


@given(st.binary(max_size=3000), st.text())
def test_encrypted_value_is_restored_in_its_context(value, context):
    encryptor = Encryptor([OLD])
    encrypted = encryptor.encrypt(value, context)
    assert encrypted[:1] == ENCRYPTED_PREFIX
    assert len(encrypted) == len(value) + 33
    assert encryptor.decrypt(encrypted, context) == value


def test_ciphertext_hides_the_value_and_never_repeats():
    encryptor = Encryptor([OLD])
    one, two = (encryptor.encrypt(b"cookie " * 50, CONTEXT) for _ in range(2))
    assert one != two
    assert b"cookie" not in one


def test_the_first_key_encrypts_and_all_open():
    before, after = Encryptor([OLD]).encrypt(b"x", CONTEXT), Encryptor([NEW, OLD])
    assert after.decrypt(before, CONTEXT) == b"x"
    with pytest.raises(EncryptionKeyError):
        Encryptor([OLD]).decrypt(after.encrypt(b"x", CONTEXT), CONTEXT)
    assert Encryptor([NEW]).decrypt(after.encrypt(b"x", CONTEXT), CONTEXT) == b"x"


def test_a_missing_key_is_named_with_what_to_do():
    encrypted = Encryptor([OLD]).encrypt(b"x", CONTEXT)
    (name,) = Encryptor([OLD]).key_names
    with pytest.raises(EncryptionKeyError, match=f"key {name}; SCRAPE_DO_ENCRYPTION_KEY .* Add that key"):
        Encryptor([NEW]).decrypt(encrypted, CONTEXT)
    with pytest.raises(EncryptionKeyError, match=rf"key {name}; SCRAPE_DO_ENCRYPTION_KEY .* is not set\. Set it to"):
        Keys("p").decrypt("p:run:r", "spec", encrypted)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value[:-1],
        lambda value: value[:20] + bytes([value[20] ^ 1]) + value[21:],
        lambda value: value[:17],
    ],
    ids=["cut", "changed", "emptied"],
)
def test_a_value_that_was_changed_is_refused(spoil):
    encryptor = Encryptor([OLD])
    with pytest.raises(EncryptionKeyError, match="changed or moved"):
        encryptor.decrypt(spoil(encryptor.encrypt(b"0123456789", CONTEXT)), CONTEXT)


def test_a_value_that_was_moved_is_refused():
    keys = Keys("p", Encryptor([OLD]))
    encrypted = keys.encrypt("p:run:r", "targets:0", b"x")
    assert keys.decrypt("p:run:r", "targets:0", encrypted) == b"x"
    for prefix, key, name in (("p", "run:r", "targets:1"), ("p", "run:s", "targets:0"), ("q", "run:r", "targets:0")):
        other = Keys(prefix, Encryptor([OLD]))
        with pytest.raises(RefusedValueError, match="changed or moved") as caught:
            other.decrypt(f"{prefix}:{key}", name, encrypted)
        assert (caught.value.run_id, caught.value.field, caught.value.part) == (key[-1], name, None)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("p:run:r", "waiter:a spec"), ("p:run:r waiter:a", "spec")),
        (("p:run:r s", "spec"), ("p:run:r", "s spec")),
        (("p:run:r", "a  b"), ("p:run:r a ", "b")),
    ],
)
def test_names_with_spaces_share_no_context(one, other):
    keys = Keys("p", Encryptor([OLD]))
    encrypted = keys.encrypt(*one, b"x")
    assert keys.decrypt(*one, encrypted) == b"x"
    with pytest.raises(RefusedValueError):
        keys.decrypt(*other, encrypted)


@pytest.mark.parametrize(
    ("key", "name", "place"),
    [
        ("p:run:a:b", "spec", ("a:b", "spec", None)),
        ("p:part:a:b:3", "error", ("a:b", "error", 3)),
        ("p:contents:r:0", "12", ("r", "contents 12", 0)),
        ("p:job:r:1", "", ("r", "job", 1)),
    ],
)
def test_a_plain_value_is_refused_with_its_place(key, name, place):
    with pytest.raises(RefusedValueError, match="SCRAPE_DO_ALLOW_PLAIN=true") as caught:
        Keys("p", Encryptor([OLD])).decrypt(key, name, b"\x00{}")
    assert (caught.value.run_id, caught.value.field, caught.value.part) == place
    assert f"run {place[0]}" in str(caught.value)
    rebuilt = ScrapeDoError.from_json(json.loads(json.dumps(caught.value.to_json())))
    assert (rebuilt.run_id, rebuilt.field, rebuilt.part) == place
    assert Keys("p", Encryptor([OLD])).decrypt(key, name, b"") == b"", "an empty value stands for none"


def test_plain_values_are_accepted_with_one_warning(caplog):
    keys = Keys("p", Encryptor([OLD], allow_plain=True))
    for _ in range(3):
        assert keys.decrypt("p:run:r", "spec", b"x") == b"x"
    assert caplog.text.count("is accepted, because SCRAPE_DO_ALLOW_PLAIN is set") == 1
    with pytest.raises(RefusedValueError, match="changed or moved"):
        keys.decrypt("p:run:r", "spec", keys.encrypt("p:run:s", "spec", b"x"))


def test_without_a_key_values_stay_as_they_are():
    plain = Keys("p")
    assert plain.encrypt("k", "n", b"x") == b"x"
    assert plain.encrypt_text("k", "n", "x") == "x"
    assert Keys("p", Encryptor([OLD])).encrypt_text("k", "n", "") == ""


def test_private_values_without_an_encryptor_are_plain():
    assert PrivateValues().key_names == []
    assert PrivateValues().decrypt("k", "n", b"x") == b"x"
    assert PrivateValues().locate_value("k", "n").run_id == ""


def test_no_key_is_shown():
    encryptor = Encryptor([OLD])
    (name,) = encryptor.key_names
    assert repr(encryptor) == f"Encryptor({name})"
    assert name not in OLD.hex()
    assert "encryptor" not in repr(Keys("p")) or OLD.hex() not in repr(Keys("p", encryptor))


def test_the_package_that_encrypts_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'scrape-do-celery\[encryption\]'"):
        Encryptor([OLD])


@pytest.mark.parametrize("given", [text(NEW, OLD), text(NEW, OLD).replace(",", "\n"), [text(NEW), text(OLD)]])
def test_keys_are_read_from_settings(clean_environment, given):
    assert encryption_keys(Settings(encryption_key=given).encryption_key) == [NEW, OLD]


def test_keys_of_fernet_will_do(clean_environment):
    key = base64.urlsafe_b64encode(b"\xff" * 32).decode()
    assert encryption_keys(Settings(encryption_key=key).encryption_key) == [b"\xff" * 32]


@pytest.mark.parametrize("given", [None, "", "  "])
def test_no_key_means_no_encryption(clean_environment, given):
    assert encryption_keys(Settings(encryption_key=given).encryption_key) == []


@pytest.mark.parametrize("given", ["short", text(b"x" * 31), text(OLD) + ",!", text(OLD, OLD)])
def test_a_wrong_key_is_an_error_that_shows_none(clean_environment, given):
    with pytest.raises(SettingsError, match="SCRAPE_DO_ENCRYPTION_KEY") as caught:
        Settings(encryption_key=given)
    assert given not in str(caught.value)
    assert given not in repr(caught.value)


def test_keys_are_in_no_repr(clean_environment):
    settings = Settings(encryption_key=text(OLD))
    assert text(OLD) not in repr(settings) + str(settings) + repr(settings.model_dump())
