from __future__ import annotations

import logging
import ssl
import subprocess
from pathlib import Path

import bcrypt
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import ConfigError
from fleet.passwords import Login, Passwords, login_of
from fleet.web_config import ClientAuth, TlsVersion, read_web_config
from fleet.web_protection import WebProtection
from stack.tools import ToolMissingError, find

HASH = bcrypt.hashpw(b"sesame", bcrypt.gensalt(4)).decode()
TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key"


def written(folder: Path, text: str) -> Path:
    file = folder / "web.yml"
    file.write_text(text)
    return file


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with server.pem, server.key and ca.pem."""
    renew(tmp_path)
    return tmp_path


def renew(folder: Path) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("localhost")
    own.cert_chain_pems[0].write_to_path(folder / "server.pem")
    own.private_key_pem.write_to_path(folder / "server.key")
    authority.cert_pem.write_to_path(folder / "ca.pem")


def test_everything_that_a_file_can_say(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        f"""\
tls_server_config:
  cert_file: server.pem
  key_file: /keys/server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  client_allowed_sans: [prometheus.example, 10.0.0.1]
  min_version: TLS13
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: false
  curve_preferences: [CurveP256]
http_server_config:
  http2: true
  headers: {{X-Frame-Options: deny, Strict-Transport-Security: max-age=60, X-XSS-Protection: ""}}
basic_auth_users:
  alice: {HASH}
rate_limit: {{interval: 0, burst: 0}}
""",
    )
    config = read_web_config(file)
    assert config.tls is not None
    assert config.tls.files == (tmp_path / "server.pem", Path("/keys/server.key"), tmp_path / "ca.pem")
    assert config.tls.client_auth is ClientAuth.REQUIRED
    assert config.tls.allowed_sans == {"prometheus.example", "10.0.0.1"}
    assert (config.tls.min_version, config.tls.max_version) == (TlsVersion.TLS13, TlsVersion.TLS13)
    assert config.tls.ciphers == ("ECDHE-RSA-AES128-GCM-SHA256",)
    assert not config.tls.prefer_server_ciphers
    assert config.users == {"alice": HASH}
    assert config.headers == {"X-Frame-Options": "deny", "Strict-Transport-Security": "max-age=60"}
    assert [note.split(" ")[0] for note in config.notes] == [
        "tls_server_config.curve_preferences",
        "http_server_config.http2",
    ]
    assert HASH not in repr(config)


@pytest.mark.parametrize("text", ["", "{}", "tls_server_config: {}", "tls_server_config: {min_version: TLS12}"])
def test_a_file_may_say_nothing(tmp_path: Path, text: str) -> None:
    config = read_web_config(written(tmp_path, text))
    assert config.tls is None
    assert not config.users


MISTAKES = [
    ("basic_auth_users: {alice: hunter2}", "basic_auth_users.alice: is no bcrypt hash (seen: <secret>)"),
    ("basic_auth_users: {'a:b': x}", "basic_auth_users.a:b: is no user name"),
    ("basic_auth_users: {alice: [hunter2]}", "basic_auth_users.alice: must be text (seen: <secret>)"),
    ("tls_server_config: {cert_file: a.pem}", "tls_server_config.key_file: is missing"),
    ("tls_server_config: {client_auth_type: NoClientCert}", "tls_server_config.cert_file: is missing"),
    ("tls_server_config: {key: hunter2}", "tls_server_config.key: is not supported here (seen: <secret>)"),
    (TLS + ", client_auth_type: RequireAnyClientCert}", "takes certificates that nobody verified"),
    (TLS + ", client_auth_type: Sometimes}", "client_auth_type: must be one of"),
    (TLS + ", client_ca_file: ca.pem}", "client_ca_file: is of no use while nobody is asked"),
    (TLS + ", client_auth_type: RequireAndVerifyClientCert}", "nothing says who signs them"),
    (TLS + ", client_allowed_sans: [a]}", "client_allowed_sans: is of no use"),
    (TLS + ", min_version: TLS13, max_version: TLS12}", "max_version: is below min_version, which is TLS13"),
    (TLS + ", max_version: TLS11}", "max_version: is below min_version, which is TLS12"),
    (TLS + ", cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}", "cipher_suites[0]: is no cipher suite"),
    (TLS + ", cert_flie: x}", "tls_server_config.cert_flie: unknown key (seen: x). Did you mean cert_file?"),
    ("http_server_config: {headers: {X-Frame-Options: maybe}}", "X-Frame-Options: must be one of deny, sameorigin"),
    ("http_server_config: {headers: {Set-Cookie: x}}", "http_server_config.headers.Set-Cookie: unknown key"),
    ('http_server_config: {headers: {X-XSS-Protection: "a\\nb"}}', "X-XSS-Protection: holds a control character"),
    ("rate_limit: {interval: 1s, burst: 2}", "rate_limit: is not supported by this version"),
    ("users: 1", "users: unknown key"),
    ("[", "is not YAML"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_each_mistake_is_named_and_no_secret_is_shown(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_web_config(written(tmp_path, text))
    said = str(raised.value)
    assert message in said
    assert "hunter2" not in said


def test_a_file_that_is_not_there_names_its_flag(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--web\.config\.file"):
        read_web_config(tmp_path / "none.yml")


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yml"
    file.write_text(text, errors="replace")
    try:
        read_web_config(file)
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - either outcome is right


@pytest.mark.prometheus
@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (f"{TLS}}}\nbasic_auth_users: {{alice: {HASH}}}", True),
        (TLS + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem, min_version: TLS13}", True),
        ("basic_auth_users: {alice: hunter2}", False),
        (TLS + ", client_ca_file: ca.pem}", False),
        ("tls_server_config: {cert_file: server.pem}", False),
        ("users: {}", False),
    ],
)
def test_promtool_says_the_same(certificates: Path, text: str, valid: bool) -> None:
    try:
        promtool = find("promtool")
    except ToolMissingError as error:
        pytest.skip(str(error))
    file = written(certificates, text)
    said = subprocess.run([promtool, "check", "web-config", file], capture_output=True, timeout=60, check=False)
    assert (said.returncode == 0) is valid
    try:
        WebProtection(file)
    except ConfigError:
        assert not valid
    else:
        assert valid


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "server.key").write_text("no key"), "server.pem: tls_server_config.cert_file: can"),
        (lambda folder: (folder / "server.key").unlink(), "server.key: tls_server_config.key_file: cannot be read"),
        (lambda folder: (folder / "ca.pem").write_text("nothing"), "ca.pem: tls_server_config.client_ca_file: holds"),
    ],
)  # fmt: skip
def test_certificates_that_cannot_be_used(certificates: Path, spoil: object, message: str) -> None:
    assert callable(spoil)
    spoil(certificates)
    text = TLS + ", client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.pem}"
    with pytest.raises(ConfigError) as raised:
        WebProtection(written(certificates, text))
    assert message in str(raised.value)


def test_an_encrypted_key_does_not_ask_for_its_password(certificates: Path) -> None:
    argv = ["openssl", "rsa", "-aes256", "-passout", "pass:x", "-in", "server.key", "-out", "locked.key"]
    try:
        subprocess.run(argv, cwd=certificates, check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("there is no openssl here")
    except subprocess.CalledProcessError:
        argv[1] = "ec"
        argv.remove("-passout")
        argv.remove("pass:x")
        subprocess.run([*argv, "-passout", "pass:x"], cwd=certificates, check=True, capture_output=True, timeout=60)
    with pytest.raises(ConfigError, match="cannot be used with the key"):
        WebProtection(written(certificates, "tls_server_config: {cert_file: server.pem, key_file: locked.key}"))


def test_changes_hold_at_once_and_bad_ones_not_at_all(certificates: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = written(certificates, TLS + "}")
    protection = WebProtection(file)
    first = protection.current
    assert isinstance(first.context, ssl.SSLContext)
    assert not protection.refresh()
    renew(certificates)
    assert protection.refresh(), "a renewed certificate"
    assert protection.current.context is not first.context
    good = protection.current
    caplog.clear()
    for _ in range(3):
        written(certificates, f"basic_auth_users: {{alice: hunter2}} #{_}")
        assert not protection.refresh()
    assert protection.current is good
    assert [record.levelname for record in caplog.records] == ["ERROR"], "said once"
    assert "is no bcrypt hash" in protection.problem
    written(certificates, f"basic_auth_users: {{alice: {HASH}}}")
    assert protection.refresh()
    assert protection.current.context is None
    assert protection.current.passwords
    assert not protection.problem


def test_a_certificate_that_comes_after_its_configuration(certificates: Path) -> None:
    file = written(certificates, "")
    protection = WebProtection(file)
    written(certificates, "tls_server_config: {cert_file: late.pem, key_file: server.key}")
    assert not protection.refresh()
    (certificates / "late.pem").write_bytes((certificates / "server.pem").read_bytes())
    assert protection.refresh()
    assert protection.current.context is not None


def test_no_file_is_no_protection() -> None:
    protection = WebProtection(None)
    assert not protection.refresh()
    assert protection.current.context is None
    assert not protection.current.passwords


def test_passwords(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    passwords = Passwords({"alice": HASH, "bob": HASH.replace("$2b$", "$2y$")})
    for user in ("alice", "bob"):
        right, wrong = Login(user, "sesame"), Login(user, "Sesame")
        assert not passwords.remembers(right)
        assert not passwords.check(wrong)
        assert not passwords.remembers(wrong)
        assert passwords.check(right)
        assert passwords.remembers(right)
        assert not passwords.remembers(wrong)
    assert not passwords.check(Login("carol", "sesame"))
    assert not passwords.remembers(Login("carol", ""))
    assert not passwords.check(Login("alice", "sesame\0"))
    assert not passwords.check(Login("alice", "x" * 100))
    assert not Passwords({}).check(Login("alice", "sesame"))
    assert not Passwords({})


@pytest.mark.parametrize(
    ("header", "login"),
    [
        ("Basic YWxpY2U6c2VzYW1l", Login("alice", "sesame")),
        ("basic  YWxpY2U6", Login("alice", "")),
        ("Basic YWxpY2U=", None),
        ("Basic !!", None),
        ("Basic /w==", None),
        ("Bearer YWxpY2U6c2VzYW1l", None),
        ("", None),
    ],
)
def test_logins(header: str, login: Login | None) -> None:
    assert login_of(header) == login


@given(st.text())
def test_any_header_holds_a_login_or_none(header: str) -> None:
    login = login_of(f"Basic {header}")
    assert login is None or ":" not in login.user
