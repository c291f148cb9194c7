"""A TLS upstream with whatever certificate a test wants, signed by an authority made for it."""

import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager, suppress

from gateway.mock import ScriptedUpstream

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """Makes certificates in a folder with the openssl command."""

    def __init__(self, folder):
        self.folder = folder
        self.path = self.selfsigned("authority")

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def selfsigned(self, name):
        """Return the path of a certificate that signs itself; its key lies in the same file."""
        new = ("req", "-x509", *CURVE, "-days", "2", "-subj", f"/CN={name}")
        self.openssl(*new, "-keyout", f"{name}.key", "-out", f"{name}.crt")
        return self.joined(name)

    def signed(self, name, host="localhost", days=2):
        """Return the path of a certificate for a host; with -1 day it has expired."""
        (self.folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{host}\n")
        asked = ("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={host}")
        self.openssl("req", *CURVE, *asked)
        by = ("-CA", "authority.crt", "-CAkey", "authority.key", "-extfile", f"{name}.ext")
        given = ("-in", f"{name}.csr", "-out", f"{name}.crt", "-days", str(days))
        self.openssl("x509", "-req", *by, *given)
        return self.joined(name)

    def joined(self, name):
        parts = [(self.folder / f"{name}.{end}").read_text() for end in ("key", "crt")]
        (self.folder / f"{name}.pem").write_text("".join(parts))
        return self.folder / f"{name}.pem"


@contextmanager
def tls_upstream(certificate):
    """Give the https URL of a scripted upstream behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ScriptedUpstream() as plain, socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=accept, args=(listener, context, plain.port))
        acceptor.start()
        yield f"https://localhost:{listener.getsockname()[1]}/v1"
        listener.shutdown(socket.SHUT_RDWR)
        acceptor.join()


def accept(listener, context, port):
    """Serve one connection after the other: a gateway makes one at a time here."""
    while True:
        with suppress(OSError):  # a refused handshake is one
            try:
                client = listener.accept()[0]
            except OSError:
                return
            client.settimeout(5)
            with client, context.wrap_socket(client, server_side=True) as secure:
                with socket.create_connection(("127.0.0.1", port)) as plain:
                    plain.sendall(secure.recv(65536))
                    secure.sendall(plain.recv(65536))
