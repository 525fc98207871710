"""The configuration: what a file may say, and what is said about mistakes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacsnode import app, config
from pacsnode.config import Access, Address, Config, Jobs, Limits, Log, Node, PeerEntry, Storage, Table, Tls
from pacsnode.dicom import charset
from pacsnode.errors import ConfigError
from pacsnode.model import DuplicatePolicy, Peer

REPOSITORY = Path(__file__).parents[1]
TABLES: tuple[type[Table], ...] = (
    Node,
    Access,
    PeerEntry,
    Storage,
    Tls,
    Limits,
    Log,
    *map(type, Jobs().tables.values()),
)
PEER = '[peers.WS]\nhost = "10.0.0.5"\nport = 104\n'

TLS_LISTEN = "[node]\ntls_listen = '0.0.0.0'\n"
OWN = "[tls]\ncertificate = 'node.pem'\nkey = 'node.key'\n"

SIZE = 'a size in whole bytes such as "4 GiB", "10 kB" or "0 B"; units are B, kB, MB, GB, TB, KiB, MiB, GiB, TiB'
TIME = 'a time such as "30 s" or "10 min"; units are ms, s, min, h, d'
AE = "not an AE title; 1 to 16 printable ASCII characters without a backslash, not all blanks"
LISTEN = (
    'not an address to listen on; "HOST:PORT" such as "127.0.0.1:11112", "0.0.0.0:104" or "[::1]:11112", '
    "the port from 0 to 65535"
)
HOST = 'not a host; a name, an IPv4 address or an IPv6 address such as "::1"'
RIGHTS = "not among the choices; 'echo', 'store', 'find', 'get', 'move' or 'commit'"
NODE_KEYS = "known here are ae_title, aliases, listen, tls_listen, data, assume_charset, index"
TABLE_NAMES = "known here are node, access, peers, storage, tls, limits, find, commitment, jobs, audit, log, metrics"
BUFFER = 'outside of what one association may hold in memory; "1 KiB" to "64 MiB"'
DEADLINE = 'outside of what can be waited for; "1 ms" to "366 d"'
LIST = 'not a list; a list such as ["A", "B"]'
NO_TABLE = "not a table; a table of keys and values"

MISTAKES = [
    ("[node]\nae_title = ''", f'[node] ae_title = "": {AE}'),
    ("[node]\nae_title = '   '", f'[node] ae_title = "   ": {AE}'),
    ("[node]\nae_title = 'SEVENTEENLETTERSX'", f'[node] ae_title = "SEVENTEENLETTERSX": {AE}'),
    ("[node]\nae_title = 'A\\B'", f'[node] ae_title = "A\\\\B": {AE}'),
    ('[node]\nae_title = "A\\tB"', f'[node] ae_title = "A\\tB": {AE}'),
    ("[node]\nae_title = 'Ä'", f'[node] ae_title = "Ä": {AE}'),
    ("[node]\nae_title = 5", "[node] ae_title = 5: not a text; a text in quotes"),
    ("[node]\nae_title = 2024-01-31", '[node] ae_title = {"date or time": "2024-01-31"}: not a text; a text in quotes'),
    ("[node]\naliases = 'A'", f'[node] aliases = "A": {LIST}'),
    ("[node]\naliases = ['A', '']", f'[node] aliases = "": {AE}'),
    ("[node]\nlisten = '11112'", f'[node] listen = "11112": {LISTEN}'),
    ("[node]\nlisten = ':11112'", f'[node] listen = ":11112": {LISTEN}'),
    ("[node]\nlisten = '127.0.0.1:65536'", f'[node] listen = "127.0.0.1:65536": {LISTEN}'),
    ("[node]\nlisten = '::1:104'", f'[node] listen = "::1:104": {LISTEN}'),
    ("[node]\nlisten = '[127.0.0.1]:104'", f'[node] listen = "[127.0.0.1]:104": {LISTEN}'),
    ("[node]\nlisten = ['127.0.0.1:104', '300.0.0.1:104']", f'[node] listen = "300.0.0.1:104": {LISTEN}'),
    ("[node]\nlisten = []", "[node] listen = []: an empty list; at least 1 value"),
    ("[node]\nlisten = 104", f"[node] listen = 104: {LIST}"),
    (
        "[node]\ndata = ''",
        "[node] data = \"\": not a folder's path; an absolute path, or one relative to this file's folder",
    ),
    (
        "[node]\ndata = '~/images'",
        "[node] data = \"~/images\": not a folder's path; an absolute path, or one relative to this file's folder",
    ),
    ("[node]\nlisen = 'x'", f'[node] lisen = "x": unknown key; did you mean listen? {NODE_KEYS}'),
    ("[node]\ntls = true", f"[node] tls = true: unknown key; {NODE_KEYS}"),
    ("node = 3", f"node = 3: {NO_TABLE}"),
    ("[storag]\nmin_free = '1 B'", f"[storag]: unknown table; did you mean storage? {TABLE_NAMES}"),
    ('["a\\u000cb{"]\nx = 1', f"[a?b{{]: unknown table; {TABLE_NAMES}"),
    ("x = 1", f"x = 1: unknown table; {TABLE_NAMES}"),
    (
        "[access]\nunknown_peers = 'maybe'",
        "[access] unknown_peers = \"maybe\": not among the choices; 'auto', 'reject' or 'accept'",
    ),
    (
        "[access]\nmatch_called_ae = 'yes'",
        '[access] match_called_ae = "yes": not a yes or no; true or false, without quotes',
    ),
    ("[peers]\nWS = 'x'", f'[peers] WS = "x": {NO_TABLE}'),
    ("[peers.WS]\nport = 104", "[peers.WS] host: missing; this key has to be there"),
    ("[peers.WS]\nhost = 'h'", "[peers.WS] port: missing; this key has to be there"),
    ("[peers.WS]\nhost = 'h'\nport = 0", "[peers.WS] port = 0: too small; 1 or more"),
    ("[peers.WS]\nhost = 'h'\nport = 65536", "[peers.WS] port = 65536: too large; up to 65535"),
    (PEER + "associations = 0", "[peers.WS] associations = 0: too small; 1 or more"),
    (PEER + "associations = 17", "[peers.WS] associations = 17: too large; up to 16"),
    (
        "[peers.WS]\nhost = 'h'\nport = '104'",
        '[peers.WS] port = "104": not a whole number; a number without quotes',
    ),
    ("[peers.WS]\nhost = 'h:104'\nport = 104", f'[peers.WS] host = "h:104": {HOST}'),
    ("[peers.WS]\nhost = '10.0.0.256'\nport = 104", f'[peers.WS] host = "10.0.0.256": {HOST}'),
    (PEER + "allow = ['eco']", f'[peers.WS] allow = "eco": {RIGHTS}'),
    (PEER + "allow = 'echo'", f'[peers.WS] allow = "echo": {LIST}'),
    (
        PEER + "tsl = false",
        "[peers.WS] tsl = false: unknown key; did you mean tls? "
        "known here are ae_title, host, port, allow, move_destinations, addresses, require_tls, certificates, "
        "certificate_names, max_associations, user_identity, expected_every, associations, assume_charset, "
        "match_unknown, tls, tls_name",
    ),
    (
        PEER + "[peers.OTHER]\nae_title = 'WS'\nhost = 'h'\nport = 1",
        "[peers.OTHER] and [peers.WS] share one AE title; one peer for each",
    ),
    (
        PEER + "[jobs.integrity]\nrepair_from = ['WS1']",
        "[jobs.integrity] repair_from: WS1 is no peer; configured in [peers] are: WS",
    ),
    (
        "[peers.'A WORKSTATION OF OURS']\nhost = 'h'\nport = 1",
        "[peers.A WORKSTATION OF OURS] has no AE title for a name; give it an ae_title",
    ),
    ("[storage]\nmin_free = '4'", f'[storage] min_free = "4": not a number with a known unit; {SIZE}'),
    ("[storage]\nmin_free = '4 gib'", f'[storage] min_free = "4 gib": not a number with a known unit; {SIZE}'),
    ("[storage]\nmin_free = '-4 GiB'", f'[storage] min_free = "-4 GiB": not a number with a known unit; {SIZE}'),
    ("[storage]\nmin_free = '0.5 B'", f'[storage] min_free = "0.5 B": not whole bytes; {SIZE}'),
    (
        "[storage]\nmin_free = 4294967296",
        f"[storage] min_free = 4294967296: a number with its unit, in quotes, is needed; {SIZE}",
    ),
    (
        "[storage]\nduplicates = 'newest'",
        "[storage] duplicates = \"newest\": not among the choices; 'version', 'first' or 'reject'",
    ),
    (
        "[storage]\nprivate_sop_classes = ['1.2.x']",
        '[storage] private_sop_classes = "1.2.x": not a UID; up to 64 digits and dots, '
        "no component with a leading zero",
    ),
    (TLS_LISTEN, "[tls] certificate: missing; tls_listen needs the path of a PEM file there, see docs/tls.md"),
    (
        TLS_LISTEN + "[tls]\ncertificate = 'a.pem'",
        "[tls] key: missing; tls_listen needs the path of a PEM file there, see docs/tls.md",
    ),
    (
        TLS_LISTEN + OWN,
        "[tls] client_ca: missing; require_client_certificate needs the path of a PEM file there, see docs/tls.md",
    ),
    (
        "[tls]\nkey = 'key.pem'",
        "[tls] certificate: missing; key needs the path of a PEM file there, see docs/tls.md",
    ),
    (
        "[tls]\nclient_ca = '~/ca.pem'",
        '[tls] client_ca = "~/ca.pem": not a file\'s path; '
        'an absolute path, or one relative to this file\'s folder, or "" for none',
    ),
    (
        PEER + "tls = true",
        "[tls] peer_ca: missing; [peers.WS] tls needs the path of a PEM file there, see docs/tls.md",
    ),
    (PEER + "tls_name = 'a b'", f'[peers.WS] tls_name = "a b": {HOST}'),
    ("[node]\ntls_listen = ':2762'", f'[node] tls_listen = ":2762": {LISTEN}'),
    ("[limits]\nassociations = 0", "[limits] associations = 0: too small; 1 or more"),
    (
        "[limits]\nassociations = 1.5",
        "[limits] associations = 1.5: not a whole number; a number without quotes",
    ),
    ("[limits]\nassociations = true", "[limits] associations = true: not a whole number; a number without quotes"),
    ("[limits]\nresults = -1", "[limits] results = -1: too small; 0 or more"),
    ("[limits]\npdu = '512 B'", f'[limits] pdu = "512 B": {BUFFER}'),
    ("[limits]\ncommand_set = '1 GiB'", f'[limits] command_set = "1 GiB": {BUFFER}'),
    ("[limits]\npdu = '2 MiB'", "[limits]: pdu is larger than pdu_hard_cap; a pdu up to pdu_hard_cap"),
    ("[limits]\nidle = '10'", f'[limits] idle = "10": not a number with a known unit; {TIME}'),
    ("[limits]\nidle = 600", f"[limits] idle = 600: a number with its unit, in quotes, is needed; {TIME}"),
    ("[limits]\nidle = '1 year'", f'[limits] idle = "1 year": not a number with a known unit; {TIME}'),
    ("[limits]\nconnect = '0 s'", f'[limits] connect = "0 s": {DEADLINE}'),
    ("[limits]\nconnect = '1000 d'", f'[limits] connect = "1000 d": {DEADLINE}'),
    (
        "[limits]\nminimum_rate = '10 kB'",
        '[limits] minimum_rate = "10 kB": not a rate; a rate such as "10 kB/s" or "50 MiB/s", at least "1 B/s"',
    ),
    (
        "[limits]\nminimum_rate = '0 B/s'",
        '[limits] minimum_rate = "0 B/s": not a rate in whole bytes; '
        'a rate such as "10 kB/s" or "50 MiB/s", at least "1 B/s"',
    ),
    (
        "[log]\nlevel = 'info'",
        "[log] level = \"info\": not among the choices; 'DEBUG', 'INFO', 'WARNING' or 'ERROR'",
    ),
    (
        "[node\n",
        "not TOML: Expected ']' at the end of a table declaration (at line 1, column 6); correct the syntax there",
    ),
    (
        "[log]\n[log]\n",
        "not TOML: Cannot declare ('log',) twice (at line 2, column 5); correct the syntax there",
    ),
]


def write(folder: Path, text: str) -> Path:
    path = folder / "pacsnode.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(("text", "complaint"), MISTAKES, ids=[complaint[:50] for _, complaint in MISTAKES])
def test_mistake_is_explained_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    """A wrong value is told with file, table, key and value, what is wrong with it and what is allowed."""
    path = write(tmp_path, text)

    with pytest.raises(ConfigError) as caught:
        config.load(path)

    assert f"{path}: {complaint}" == str(caught.value)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """Several mistakes come out together, a line for each."""
    path = write(tmp_path, "[node]\nae_title = ''\n[limits]\nassociations = 0\n[log]\nlevels = 1\n")

    with pytest.raises(ConfigError) as caught:
        config.load(path)

    expected = [f"{path}: [node] ae_title", f"{path}: [limits] associations", f"{path}: [log] levels"]
    assert expected == [line.split(" = ")[0] for line in str(caught.value).splitlines()]


def test_long_value_is_cut(tmp_path: Path) -> None:
    """A complaint stays readable, and on one line, whatever the value is."""
    path = write(tmp_path, f'[node]\nae_title = "{"x" * 1000}\\u2028"\n')

    with pytest.raises(ConfigError) as caught:
        config.load(path)

    (line,) = str(caught.value).splitlines()
    assert len(line) < 300


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file or directory; name a readable file by --config"),
        (b"[node]\nae_title = '\xff'\n", "not UTF-8 at byte 19; TOML is UTF-8 text"),
    ],
)
def test_unreadable_file_is_a_configuration_error(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    """A file that is missing or no text is explained as a mistake in the configuration."""
    path = tmp_path / "pacsnode.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        config.load(path)

    assert f"{path}: {complaint}" == str(caught.value)


def test_file_is_read_with_all_its_kinds_of_values(tmp_path: Path) -> None:
    """Titles are stripped, addresses parsed, sizes become bytes and times seconds."""
    text = """
    [node]
    ae_title = " ARCHIVE "
    aliases = ["OLD", "OLDER "]
    listen = ["0.0.0.0:104", "[::1]:11112", "pacs.example.org:0"]
    data = "/srv/pacs"
    [storage]
    min_free = "1.5 GiB"
    duplicates = "first"
    private_sop_classes = ["1.3.12.2.1107.5.9.1"]
    [limits]
    dataset = "10kB"
    idle = "1.5 h"
    connect = "250 ms"
    minimum_rate = "1 MiB/s"
    """

    loaded = config.load(write(tmp_path, text))

    assert (
        Node(
            ae_title="ARCHIVE",
            aliases=("OLD", "OLDER"),
            listen=(Address("0.0.0.0", 104), Address("::1", 11112), Address("pacs.example.org", 0)),
            data=Path("/srv/pacs"),
        )
        == loaded.node
    )
    assert (
        Storage(min_free=3 * 2**29, duplicates=DuplicatePolicy.FIRST, private_sop_classes=("1.3.12.2.1107.5.9.1",))
        == loaded.storage
    )
    assert Limits(dataset=10_000, idle=5400.0, connect=0.25, minimum_rate=2**20) == loaded.limits


@pytest.mark.parametrize(
    "terms", ["", "ISO_IR 6", "ISO_IR 100", "GBK", "ISO 2022 IR 149", "\\ISO 2022 IR 87\\ISO 2022 IR 159"]
)
def test_assumed_character_sets(tmp_path: Path, terms: str) -> None:
    """A peer's assumption comes before the node's, which holds for everybody else; AE titles decide."""
    node = "[node]\nassume_charset = 'ISO_IR 144'\n"
    text = PEER + f"ae_title = 'CT01'\nassume_charset = '{terms}'\n"

    assumed = app.assumptions(config.load(write(tmp_path, node + text)))

    assert (terms or "ISO_IR 144", "ISO_IR 144") == (assumed.of("CT01"), assumed.of("WS"))
    assert terms in ("", "ISO_IR 6") or terms == charset.declared(terms, "nothing")


@pytest.mark.parametrize("terms", ["latin1", "ISO_IR 87", "ISO-IR 100", "ISO_IR 999", "\\", "ISO_IR 100\\"])
def test_character_sets_that_are_none(tmp_path: Path, terms: str) -> None:
    """A mistake in the term is told at the start, with examples of what is right."""
    with pytest.raises(ConfigError, match="ISO_IR 192"):
        config.load(write(tmp_path, f"[node]\nassume_charset = '{terms}'\n"))


def test_peers_take_their_title_from_the_table(tmp_path: Path) -> None:
    """A peer's AE title is its table's name unless it says another; rights are all unless some are listed."""
    text = PEER + "[peers.ct_room_1]\nae_title = 'CT01'\nhost = '::1'\nport = 11112\nallow = ['echo', 'store']\n"

    peers = config.load(write(tmp_path, text)).peers

    assert {
        "WS": Peer("WS", "WS", "10.0.0.5", 104),
        "ct_room_1": Peer("ct_room_1", "CT01", "::1", 11112, allow=frozenset({"echo", "store"})),
    } == peers


@pytest.mark.parametrize(
    ("policy", "listener", "expected"),
    [
        ("auto", Address("127.0.0.1", 1), True),
        ("auto", Address("127.8.0.1", 1), True),
        ("auto", Address("::1", 1), True),
        ("auto", Address("localhost", 1), True),
        ("auto", Address("0.0.0.0", 1), False),
        ("auto", Address("::", 1), False),
        ("auto", Address("10.0.0.1", 1), False),
        ("auto", Address("pacs.example.org", 1), False),
        ("accept", Address("0.0.0.0", 1), True),
        ("reject", Address("127.0.0.1", 1), False),
    ],
)
def test_unknown_peers_by_listener(tmp_path: Path, policy: str, listener: Address, expected: bool) -> None:
    """ "auto" lets unknown peers in where only this machine can connect, and nowhere else."""
    loaded = config.load(write(tmp_path, f"[access]\nunknown_peers = '{policy}'\n"))

    assert expected == loaded.accepts_unknown_peers(listener)


def test_data_folder_is_relative_to_the_file(tmp_path: Path) -> None:
    """A relative data folder starts at the file's folder, wherever the program is started."""
    path = write(tmp_path, "[node]\ndata = '../images'\n")

    assert tmp_path / "../images" == config.load(path).node.data


def test_embedded_configuration_keeps_data_in_var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any file all is as the defaults say, with the data in ./var."""
    monkeypatch.chdir(tmp_path)

    loaded = config.load(None)

    assert tmp_path / "var" == loaded.node.data
    assert Config() == loaded.model_copy(update={"node": loaded.node.model_copy(update={"data": Config().node.data})})


def test_empty_file_means_the_defaults(tmp_path: Path) -> None:
    """What a file does not say has its default."""
    assert Config() == config.load(write(tmp_path, ""))


def test_lookup_order(tmp_path: Path) -> None:
    """The option comes before the environment, that before the system's file, that before the embedded defaults."""
    system_file = write(tmp_path, "")
    environment = {"PACSNODE_CONFIG": "/e.toml"}
    missing = tmp_path / "missing.toml"

    assert [Path("/o.toml"), Path("/e.toml"), system_file, None] == [
        config.locate(Path("/o.toml"), environment, system_file=system_file),
        config.locate(None, environment, system_file=system_file),
        config.locate(None, {"PACSNODE_CONFIG": ""}, system_file=system_file),
        config.locate(None, {}, system_file=missing),
    ]


def test_sample_equals_the_defaults() -> None:
    """The sample that is delivered says exactly what the defaults are."""
    assert Config() == config.load(REPOSITORY / "config/pacsnode.toml")


def test_sample_is_written_by_the_program() -> None:
    """The sample is what `pacsnode config sample` prints, so that it cannot fall behind."""
    assert config.sample() == (REPOSITORY / "config/pacsnode.toml").read_text("utf-8")


def test_reference_is_written_by_the_program() -> None:
    """docs/configuration.md is what `pacsnode config reference` prints, so that it cannot fall behind."""
    assert config.reference() == (REPOSITORY / "docs/configuration.md").read_text("utf-8")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_every_key_is_in_sample_and_reference_with_its_meaning(table: type[Table]) -> None:
    """No key goes undocumented."""
    for key, field in table.model_fields.items():
        assert field.description, key
        assert f"{key} = " in config.sample()
        assert f"| `{key}` | " in config.reference()


def test_every_table_is_in_the_sample() -> None:
    """The sample shows all tables; its peer stays a comment."""
    names = {field.alias or name for name, field in Config.model_fields.items()}

    assert names - {"peers"} == tomllib.loads(config.sample()).keys()
    assert "# [peers.WORKSTATION1]\n" in config.sample()


def test_sample_peer_may_be_uncommented(tmp_path: Path) -> None:
    """Without their "# " the lines of the sample's peer are a peer."""
    lines = config.sample().split("\n\n")
    peer = next(block for block in lines if "[peers." in block)
    text = "".join(f"{line.removeprefix('# ')}\n" for line in peer.splitlines() if line != peer.splitlines()[0])

    assert {"WORKSTATION1": Peer("WORKSTATION1", "WS1", "10.0.0.5", 11112)} == config.load(write(tmp_path, text)).peers


def test_beginning_says_what_was_asked_for(tmp_path: Path) -> None:
    """A new node's file holds its [node] table alone; the rest are defaults as comments."""
    node = config.new_node(ae_title="NEW", listen="[::1]:104", data="data")

    text = config.beginning(node)

    expected = {"node": {"ae_title": "NEW", "listen": "[::1]:104", "data": "data"}}
    assert expected == tomllib.loads(text)
    assert Config(node=node).limits == config.load(write(tmp_path, text)).limits


def test_toml_loads_to_the_same(tmp_path: Path) -> None:
    """What `config show` prints is the configuration in effect, peers with odd names included."""
    text = (
        "[node]\nlisten = ['127.0.0.1:0', '[::1]:104']\ndata = '/d\"\\u00e9 '\n"
        "[peers.'Ward 1.2']\nhost = 'h'\nport = 1\nallow = ['move', 'echo']\n[limits]\nidle = '90 s'\n"
    )
    loaded = config.load(write(tmp_path, text))

    assert loaded == config.load(write(tmp_path, config.toml(loaded)))


def test_schema_has_defaults_as_a_file_says_them() -> None:
    """The JSON Schema for editors offers what may be written, not bytes and seconds."""
    definitions = config.schema()["$defs"]
    properties = {key: field for name in definitions for key, field in definitions[name].get("properties", {}).items()}

    expected = {"listen": "127.0.0.1:11112", "min_free": "4 GiB", "idle": "10 min", "minimum_rate": "10 kB/s"}
    assert expected == {key: properties[key]["default"] for key in expected}
    assert ["string", "array"] == properties["listen"]["type"]
    assert all("description" in field for field in properties.values())


@given(size=st.integers(0, 2**60))
def test_size_is_written_exactly(size: int) -> None:
    """A size that is written down reads as the same number of bytes."""
    assert size == Storage.model_validate_json(f'{{"min_free": "{config.size_text(size)}"}}').min_free


@given(milliseconds=st.integers(1, 366 * 86_400_000))
def test_time_is_written_exactly(milliseconds: int) -> None:
    """A time that is written down reads as the same number of seconds."""
    seconds = milliseconds / 1000

    assert seconds == Limits.model_validate_json(f'{{"idle": "{config.duration_text(seconds)}"}}').idle


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1, "1 B"), (1000, "1 kB"), (1024, "1 KiB"), (10_000, "10 kB"), (2**18, "256 KiB"), (2**32, "4 GiB")],
)
def test_size_has_the_unit_people_expect(size: int, text: str) -> None:
    """Sizes are written with the largest unit that needs no fraction, binary units first."""
    assert text == config.size_text(size)


@given(text=st.text())
def test_any_text_as_a_file_loads_or_is_explained(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever a file holds, it gives a configuration or a ConfigError, never another error."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))

    try:
        config.load(path)
    except ConfigError as error:
        assert all(line.startswith(f"{path}: ") for line in str(error).splitlines())  # noqa: PT017
