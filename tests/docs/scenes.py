"""What each block of commands needs before it can run, and which blocks are not run, with the reason.

The tables are by document and first line of the block; an entry that fits no block fails the suite.
"""

from __future__ import annotations

from collections.abc import Callable

import pyrage

from tests.docs.scene import Scene

Key = tuple[str, str]

README, ACCESS, BACKUP = "README.md", "docs/access.md", "docs/backup.md"
OPERATIONS, SECURITY = "docs/operations.md", "docs/security.md"
FIRST, INSTALL, TROUBLE = "docs/first-modality.md", "docs/install.md", "docs/troubleshooting.md"

_CALLING = "echoscu -aet CT09 -aec PACSNODE 127.0.0.1 11112"
_CALLED = "echoscu -aet CT01 -aec ARCHIVE 127.0.0.1 11112"
_UNREACHABLE = "movescu -v -S -aet READER -aec PACSNODE -aem READER 127.0.0.1 11112 \\"

_PACKAGES = "installs packages from the network"
_SYSTEMD = "needs root and a systemd; tests/service looks at the units"
_DEVICE = "formats or seals a block device"

NOT_RUN: dict[Key, str] = {
    (
        README,
        "make test        # the whole test suite; needs DCMTK, and installs it where it is missing",
    ): "is the suite",
    (FIRST, "apt-get install python3-venv make dcmtk"): _PACKAGES,
    (OPERATIONS, "python3 -m venv /opt/pacsnode"): _PACKAGES,
    (
        OPERATIONS,
        "install -m 0644 -D systemd/sysusers.d/pacsnode.conf /usr/lib/sysusers.d/pacsnode.conf && systemd-sysusers",
    ): _SYSTEMD,
    (
        OPERATIONS,
        "install -m 0644 -D systemd/pacsnode.service.d/socket.conf /etc/systemd/system/pacsnode.service.d/socket.conf",
    ): _SYSTEMD,
    (
        OPERATIONS,
        "install -m 0644 systemd/pacsnode-doctor.service systemd/pacsnode-doctor.timer /etc/systemd/system/",
    ): _SYSTEMD,
    (
        INSTALL,
        "apt-get install ./pacsnode_0.1.0_amd64.deb",
    ): "needs root; tests/vm runs it in a machine",
    (INSTALL, "runuser -u pacsnode -- pacsnode reindex"): "needs the user that the package makes; tests/packaging",
    (INSTALL, "python3 -m venv /opt/pacsnode"): _PACKAGES,
    (INSTALL, "make serve"): "test_newcomer does it",
    (
        OPERATIONS,
        "pacsnode peer commit ARCHIVE2 --study 1.2.3.4",
    ): "needs a second archive; tests/cli/test_peer_commit.py",
    (SECURITY, "cryptsetup luksFormat --type luks2 /dev/sdX"): _DEVICE,
    (SECURITY, "systemd-cryptenroll --tpm2-device=auto --tpm2-pcrs=7 /dev/sdX"): _DEVICE,
    (SECURITY, "cryptsetup luksHeaderBackup /dev/sdX --header-backup-file pacsnode-luks-header.img"): _DEVICE,
    (
        SECURITY,
        "aws s3api put-bucket-encryption --bucket NAME --server-side-encryption-configuration"
        ' \'{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"aws:kms","KMSMasterKeyID":"KEY"},'
        '"BucketKeyEnabled":true}]}\'',
    ): "needs an account at a cloud",
    (SECURITY, "pip install --require-hashes -r requirements.lock"): _PACKAGES,
}

# Blocks of TOML that are no configuration of a node.
NOT_CONFIGURATION: dict[Key, str] = {
    (BACKUP, 'access_key_id = "…"       # Azure: account_name, account_key; Google: service_account'): "credentials",
}

# Exit codes other than 0, by block and command; None is any.
EXITS: dict[tuple[Key, str], int | None] = {
    ((OPERATIONS, "pacsnode doctor"), "pacsnode doctor"): 3,
    ((OPERATIONS, "pacsnode verify"), "pacsnode verify"): 3,
    ((OPERATIONS, "systemctl stop pacsnode"), "pacsnode doctor"): None,
    ((TROUBLE, "pacsnode status --nagios"), "pacsnode status --nagios"): None,
    ((TROUBLE, "pacsnode status --nagios"), "pacsnode doctor"): 3,
    ((TROUBLE, _CALLING), _CALLING): 1,
    ((TROUBLE, _CALLED), _CALLED): 1,
    ((TROUBLE, _UNREACHABLE), "pacsnode peer test READER"): 1,
    ((TROUBLE, "pacsnode verify"), "pacsnode verify"): 3,
    ((TROUBLE, "pacsnode backup list"), "pacsnode backup list"): 78,
}

# What is typed when a command asks.
TYPED: dict[tuple[Key, str], str] = {
    ((ACCESS, "pacsnode user add anna"), "pacsnode user add anna"): "a passcode\na passcode\n",
}


def _stranger_calls(scene: Scene) -> None:
    scene.configure({"access": {"unknown_peers": "reject"}})
    scene.start()
    for _ in range(2):
        scene.step("echoscu -aet CT02 -aec PACSNODE 127.0.0.1 11112", expect=1)


def _a_certificate(scene: Scene) -> None:
    scene.step("openssl req -x509 -newkey ed25519 -noenc -subj /CN=ct01 -keyout ct01.key -out ct01.pem")


def _a_plain_backup(scene: Scene) -> None:
    target = scene.folder / "mnt" / "backup"
    target.mkdir()
    scene.configure({"jobs": {"backup": {"enabled": True, "target": f"file://{target}"}}})
    scene.start()
    scene.store()
    scene.step("pacsnode backup run")
    scene.cwd = target


def _a_new_peer(scene: Scene) -> None:
    scene.stop()  # that of ``pacsnode init``
    scene.start()
    scene.configure({"peers": {"CT02": {"host": "127.0.0.1", "port": 104}}})


def _five_images(scene: Scene) -> None:
    scene.start()
    scene.store()


def _damage(scene: Scene) -> None:
    scene.flip()


def _a_key(scene: Scene) -> None:
    identity = pyrage.x25519.Identity.generate()
    for path in (scene.etc / "backup.key", scene.home / "backup.key"):
        path.write_text(f"{identity}\n")
        path.chmod(0o600)
    (scene.folder / "mnt" / "backup").mkdir()


def _disaster(scene: Scene) -> None:
    scene.step("systemctl restart pacsnode")
    scene.step("pacsnode backup run")
    scene.stop()
    scene.data.rename(scene.folder / "lost")


def _no_index(scene: Scene) -> None:
    scene.stop()
    for path in scene.data.glob("index.db*"):
        path.unlink()


def _in_the_data_folder(scene: Scene) -> None:
    _five_images(scene)
    scene.cwd = scene.data


def _a_ward(scene: Scene) -> None:
    peers = {
        "CT01": {"host": "127.0.0.1", "port": 104, "allow": ["echo", "store"]},
        "READER": {"host": "127.0.0.1", "port": scene.peer_port, "allow": ["echo", "find", "get", "move"]},
        "STORESCU": {"host": "127.0.0.1", "port": 104},
    }
    scene.configure({"access": {"unknown_peers": "reject"}, "peers": peers})
    _five_images(scene)
    scene.step("echoscu -aet NOBODY -aec PACSNODE 127.0.0.1 11112", expect=1)


def _damage_index(scene: Scene) -> None:
    scene.stop()
    for path in scene.data.glob("index.db-*"):
        path.unlink()
    (scene.data / "index.db").write_bytes(b"x" * 8192)
    assert "index: cannot open: file is not a database" in scene.step("env pacsnode serve", expect=1)


def _a_checkout(scene: Scene) -> None:
    (scene.home / "pacsnode").mkdir()


BEFORE: dict[Key, Callable[[Scene], None]] = {
    (ACCESS, "pacsnode peer pending"): _stranger_calls,
    (ACCESS, "openssl x509 -in ct01.pem -noout -fingerprint -sha256"): _a_certificate,
    (BACKUP, r"""zcat lists/*.jsonl.gz | grep '"key"' | sort -u | while read -r line; do"""): _a_plain_backup,
    (OPERATIONS, "pacsnode reload"): _a_new_peer,
    (OPERATIONS, "pacsnode status"): _five_images,
    (OPERATIONS, "pacsnode verify"): _damage,
    (OPERATIONS, "pacsnode job list"): _damage,
    (OPERATIONS, "[jobs.backup]"): _a_key,
    (OPERATIONS, "pacsnode backup restore --to /var/lib/pacsnode --target file:///mnt/backup --key-file backup.key"): (
        _disaster
    ),
    (OPERATIONS, "pacsnode reindex"): _no_index,
    (FIRST, "cd pacsnode"): _a_checkout,
    (TROUBLE, "pacsnode status --nagios"): _a_ward,
    (TROUBLE, "pacsnode verify"): _damage,
    (TROUBLE, "systemctl stop pacsnode"): _damage_index,
    ("docs/storage-format.md", "find objects -type f | sort | while read -r object; do"): _in_the_data_folder,
}
