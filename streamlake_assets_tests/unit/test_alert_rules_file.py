"""Rule files: what is read, and that everything wrong is refused with its line and its reason."""

from pathlib import Path

import pytest

from streamlake_assets.alerts.rules_file import EXAMPLE, LoadedRules, RuleFileError, load_rules
from streamlake_assets.alerts.yaml_lines import MOST_BYTES
from streamlake_assets.errors import UsageError
from streamlake_assets.market.alert_rules import HEARTBEATS, WATCHED_ELSEWHERE
from streamlake_assets.market.alerts import Kind, Severity

CHECKS = {"raw/bars:bars_keep_the_contract", *WATCHED_ELSEWHERE}
CANARY = "canary-4711-of-a-secret"
TARGET = """targets:
  - name: ops
    kind: webhook
    url: https://hooks.example.com/x
    secret: env:HOOK
"""
RULE = TARGET + "rules:\n  - name: all\n    targets: [ops]\n"


def load(tmp_path: Path, text: str | bytes, loopback: bool = False, checks: set[str] | None = CHECKS) -> LoadedRules:
    path = tmp_path / "alerts.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_rules(path, {"HOOK": CANARY, "MAIL_PASSWORD": CANARY, "SHORT": "short", "EMPTY": ""}, loopback, checks)


def problems(tmp_path: Path, text: str | bytes, **options: object) -> list[tuple[int, str]]:
    with pytest.raises(RuleFileError) as refused:
        load(tmp_path, text, **options)  # type: ignore[arg-type]
    assert CANARY not in str(refused.value)
    assert all(f"line {line}: {reason}" in str(refused.value) for line, reason in refused.value.problems)
    assert refused.value.exit_code == 2
    return [tuple(one) for one in refused.value.problems]


def test_the_example_of_the_documents_is_read(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "webhook").write_text(f"{CANARY}\n")
    loaded = load(tmp_path, EXAMPLE)
    assert sorted(loaded.notifiers) == ["mail", "ops"]
    errors, bars = loaded.rules.rules
    assert (errors.severity, errors.remind, bars.on) == (Severity.ERROR, "6h", (Kind.CHECK,))
    assert CANARY not in repr(loaded.rules)
    assert EXAMPLE in (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()


def test_without_a_file_heartbeats_are_watched_and_nothing_is_sent() -> None:
    loaded = load_rules(None, {})
    assert (loaded.rules.heartbeats, loaded.rules.rules, loaded.notifiers) == (HEARTBEATS, (), {})


def test_a_file_that_is_not_there_is_told_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="STREAMLAKE_ALERT_RULES names"):
        load_rules(tmp_path / "none.yaml", {})


def test_heartbeats_of_the_file_replace_the_built_in_ones(tmp_path: Path) -> None:
    assert load(tmp_path, "heartbeats:\n  consumer: 30s\n").rules.heartbeats == {"consumer": "30s"}
    assert load(tmp_path, "heartbeats: {}\n").rules.heartbeats == {}


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "the file is empty"),
        ("- a\n", 1, "a rule file holds targets, rules, heartbeats"),
        ("targets:\n  - {name: a\n", 3, "no YAML"),
        ("rules:\n\t- name: a\n", 2, "no YAML"),
        (b"rules:\n# \xff\n", 2, "this is not UTF-8"),
        ("rules:\n# \x00\n", 2, "not allowed in YAML"),
        ("rules: []\nrules: []\n", 2, "'rules' stands here twice"),
        ("rules: []\nalarms: []\n", 2, "unknown key 'alarms'"),
        ("rules:\n  a: b\n", 1, "rules is a list"),
        ("rules: &a []\ntargets: *a\n", 1, "anchors and aliases are not read"),
        ("rules:\n  - !!python/name:os.system x\n", 2, "is not read"),
        ("rules: []\n---\nrules: []\n", 2, "no YAML"),
        ("? [a, b]\n: c\n", 1, "a key must be a plain word"),
        ("[" * 3_000, 1, "nested too deep"),
        ("#" * (MOST_BYTES + 1), 1, "are read"),
        ("heartbeats:\n  consumer: 5\n", 2, "Expected `str`, got `int`"),
        ("heartbeats:\n  scorer: 60s\n  consumer: soon\n", 3, "expected a whole number and s, m, h or d"),
        (RULE + "    on: [chek]\n", 9, "Invalid enum value 'chek': there are check, freshness"),
        (RULE + "    severity: bad\n", 9, "there are info, warning, error"),
        (RULE + "    cooldwn: 5m\n", 9, "unknown field `cooldwn`"),
        (RULE + "    match: []\n", 9, "length >= 1"),
        (RULE + "    enabled: maybe\n", 9, "Expected `bool`"),
        (RULE + "    match:\n      - '*'\n      - 2024-13-45\n", 11, "no value: put it in quotation marks"),
        (RULE + "  - name: all\n    targets: [ops]\n", 9, "the name 'all' is taken"),
        (RULE + "  - name: Bad Name\n    targets: [ops]\n", 9, "expected a name of small letters"),
        (RULE + "  - name: x\n", 9, "missing required field `targets`"),
        (RULE + "  - name: x\n    targets:\n      - ops\n      - nobody\n", 12, "there is no target 'nobody'"),
        (RULE + "    on: [check]\n    match: ['raw/bars:bars_keep_the_contrct']\n", 10, "no check is named"),
        (RULE + "    except: ['raw/*:gone']\n", 9, "no check is named 'raw/*:gone'"),
        (TARGET.replace("webhook", "webhok"), 3, "Invalid value 'webhok'"),
        (TARGET.replace("    kind: webhook\n", ""), 2, "missing required field `kind`"),
        (TARGET + "    storm: {messages: 0}\n", 6, ">= 1"),
        (TARGET + "    storm:\n      messages: 2\n      window: 60\n", 8, "Expected `str`, got `int`"),
        (TARGET.replace("https:", "http:"), 4, "http is refused"),
        (TARGET.replace("hooks.example.com", "10.0.0.1"), 4, "10.0.0.1 is not a public address"),
        (TARGET.replace("hooks.example.com", "localhost"), 4, "STREAMLAKE_ALERT_LOOPBACK"),
        (TARGET.replace("env:HOOK", CANARY), 5, "a secret stands elsewhere: say file:PATH or env:NAME"),
        (TARGET.replace("HOOK", "NONE"), 5, "the variable NONE is not set"),
        (TARGET.replace("HOOK", "EMPTY"), 5, "the variable EMPTY is not set"),
        (TARGET.replace("HOOK", "SHORT"), 5, "shorter than 16 characters"),
        (TARGET.replace("env:HOOK", "file:none"), 5, "the file none cannot be read: No such file"),
        (TARGET.replace("https://hooks.example.com/x", "env:HOOK"), 4, "begins with https://"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line_and_reason(
    text: str | bytes, line: int, reason: str, tmp_path: Path
) -> None:
    found = problems(tmp_path, text)
    assert any(at == line and reason in why for at, why in found), found


MAIL = """targets:
  - name: mail
    kind: mail
    host: mail.example.com
    sender: a@example.com
    to: [b@example.com]
"""


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (MAIL.replace("mail.example.com", "localhost"), 4, "STREAMLAKE_ALERT_LOOPBACK"),
        (MAIL.replace("a@example.com", "nobody"), 5, "'nobody' is no mail address"),
        (MAIL.replace("[b@example.com]", "\n      - b@example.com\n      - c"), 8, "'c' is no mail address"),
        (MAIL.replace("[b@example.com]", '["b@example.com\\r\\nBcc: c@example.com"]'), 6, "is no mail address"),
        (MAIL.replace("[b@example.com]", "[]"), 6, "length >= 1"),
        (MAIL + "    security: none\n", 7, "say starttls or tls"),
        (MAIL + "    security: ssl\n", 7, "Invalid enum value 'ssl'"),
        (MAIL + "    user: u\n", 7, "a login is a user and a password"),
        (MAIL + "    port: 70000\n", 7, "<= 65535"),
        ("targets:\n  - name: c\n    kind: chat\n    url: env:HOOK\n", 4, "must begin with one of discord://"),
    ],
)
def test_mail_and_chat_are_judged_as_strictly(text: str, line: int, reason: str, tmp_path: Path) -> None:
    found = problems(tmp_path, text)
    assert any(at == line and reason in why for at, why in found), found


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = RULE.replace("https", "http").replace("HOOK", "NONE").replace("[ops]", "[nobody]")
    assert [line for line, _ in problems(tmp_path, text)] == [4, 5, 8] or [
        line for line, _ in problems(tmp_path, text)
    ] == [5, 8]


def test_this_machine_is_a_target_by_setting_alone(tmp_path: Path) -> None:
    text = TARGET.replace("https://hooks.example.com", "http://127.0.0.1:9000")
    assert problems(tmp_path, text)[0][0] == 4
    assert list(load(tmp_path, text, loopback=True).notifiers) == ["ops"]
    local = MAIL.replace("mail.example.com", "localhost") + "    security: none\n"
    assert list(load(tmp_path, local, loopback=True).notifiers) == ["mail"]


def test_a_key_that_yaml_reads_as_true_is_a_key(tmp_path: Path) -> None:
    (rule,) = load(tmp_path, RULE + "    on: [run, sensor]\n").rules.rules
    assert rule.on == (Kind.RUN, Kind.SENSOR)


def test_limits_are_read_and_whatever_is_wrong_with_one_is_told(tmp_path: Path) -> None:
    text = """thresholds:
  - {name: cheap, of: price, below: 180, instruments: [IBM]}
  - {name: wild, of: volatility, above: 0.02, bars: 5, severity: error}
  - {name: wide, of: forecast, target: log_range, above: 0.03}
"""
    cheap, wild, wide = load(tmp_path, text).rules.thresholds
    assert (cheap.instruments, cheap.below, wild.severity, wide.above) == (("IBM",), 180.0, "error", 0.03)
    wrong = """thresholds:
  - {name: a, of: price, below: 180, above: 3}
  - {name: b, of: volatil, above: 0.02}
  - {name: c, of: forecast, target: range, above: 0.03}
  - {name: d, of: price, interval: 2d, above: 0.03}
  - {name: e, above: 0.03}
  - {name: f, of: price, abve: 0.03}
"""
    assert problems(tmp_path, wrong) == [
        (2, "a threshold has one limit: above or below"),
        (3, "Invalid value 'volatil': there are price, volatility, forecast"),
        (4, "Invalid enum value 'range': there are adjusted_return, log_range"),
        (5, "Invalid enum value '2d': there are 1m, 5m, 15m, 30m, 60m, 1d"),
        (6, "it missing required field `of`"),
        (7, "it contains unknown field `abve`"),
    ]


def test_a_limit_and_a_rule_of_one_name_are_refused(tmp_path: Path) -> None:
    text = RULE + "thresholds:\n  - {name: all, of: price, above: 1}\n"
    assert problems(tmp_path, text) == [(10, "the name 'all' is taken")]
