"""Caddy and nginx with the files of examples/deploy/proxy, on ports and with a certificate of a test."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.server import free_port, is_listening

FILES: Final = Path(__file__).parents[2] / "examples/deploy/proxy"
NAME: Final = "art.example"
"""The host name in the files."""
UPSTREAM: Final = "127.0.0.1:7870"
PROXIES: Final = ("caddy", "nginx")

_NGINX: Final = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/responses;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""
"""What Debian's nginx.conf would have around the file."""
_CADDY: Final = """
{{
    admin off
    auto_https disable_redirects
    storage file_system {folder}
}}
"""


@dataclass(frozen=True, slots=True)
class TlsProxy:
    """A proxy that runs."""

    port: int
    certificate: Path
    log: Path

    @property
    def public_url(self) -> str:
        return f"https://{NAME}:{self.port}"


@contextmanager
def a_proxy(kind: str, folder: Path, upstream_port: int) -> Iterator[TlsProxy]:
    """A proxy in front of a port of this machine. Skips the test if the program is not installed."""
    program, openssl = found(kind), found("openssl")
    certificate, key = self_signed(openssl, folder)
    made = TlsProxy(free_port(), certificate, folder / "log")
    if kind == "caddy":
        command = [program, "run", "--adapter", "caddyfile", "--config"]
        command.append(str(caddyfile(folder, made, key, upstream_port)))
    else:
        command = [program, "-p", str(folder), "-c", str(nginx_conf(folder, made, key, upstream_port))]
    home = os.environ | {"HOME": str(folder)}
    with (
        made.log.open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=home) as process,
    ):
        try:
            wait_for(kind, lambda: process.poll() is not None or is_listening(made.port))
            assert process.poll() is None, made.log.read_text()
            yield made
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
            print(made.log.read_text())


def found(program: str) -> str:
    where = shutil.which(program, path="/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin")
    return where or pytest.skip(f"{program} is not installed")


def self_signed(openssl: str, folder: Path) -> tuple[Path, Path]:
    """A certificate of the name, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-nodes", "-days", "2",
         "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def caddyfile(folder: Path, proxy: TlsProxy, key: Path, upstream_port: int) -> Path:
    text = changed(
        (FILES / "Caddyfile").read_text(encoding="utf-8"),
        {
            f"\n{NAME} {{\n": f"\n{NAME}:{proxy.port} {{\n\ttls {proxy.certificate} {key}\n",
            f"reverse_proxy {UPSTREAM}": f"reverse_proxy 127.0.0.1:{upstream_port}",
        },
    )
    file = folder / "Caddyfile"
    file.write_text(_CADDY.format(folder=folder) + text)
    return file


def nginx_conf(folder: Path, proxy: TlsProxy, key: Path, upstream_port: int) -> Path:
    place = f"/etc/letsencrypt/live/{NAME}"
    text = changed(
        (FILES / "nginx.conf").read_text(encoding="utf-8"),
        {
            "listen 80;": f"listen 127.0.0.1:{free_port()};",
            "listen 443 ssl": f"listen 127.0.0.1:{proxy.port} ssl",
            f"{place}/fullchain.pem": str(proxy.certificate),
            f"{place}/privkey.pem": str(key),
            f"server {UPSTREAM};": f"server 127.0.0.1:{upstream_port};",
        },
    )
    (folder / "site.conf").write_text(text)
    file = folder / "nginx.conf"
    file.write_text(_NGINX.format(folder=folder))
    return file


def changed(text: str, changes: dict[str, str]) -> str:
    """A text with what belongs to this machine; all the rest is as people get it."""
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text
