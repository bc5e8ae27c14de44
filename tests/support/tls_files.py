"""Certificates for a test, made by the openssl program."""

import subprocess
from pathlib import Path


def certificates(folder: Path) -> None:
    """A CA, and a server's and a client's certificate of it, all with one key."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    new = ("req", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    openssl(*new, "-x509", "-keyout", "cakey.pem", "-out", "ca.pem", "-subj", "/CN=test-ca")
    openssl("genrsa", "-out", "key.pem", "2048")
    for name in ("server", "client"):
        openssl("req", "-new", "-key", "key.pem", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ("-CA", "ca.pem", "-CAkey", "cakey.pem", "-CAcreateserial", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-days", "2", "-out", f"{name}.pem")
