"""The units of deploy/ as systemd treats them during an upgrade, without systemd."""

import fcntl
import os
import signal
import socket
import sys

from tests.serving import Gateway

# What systemd does between fork and exec; no copy of a listener may be left but the two.
LAUNCH = """
import os, sys
for number, sock in enumerate(map(int, sys.argv[1:])):
    os.dup2(sock, 3 + number)
    os.close(sock)
os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"] = str(os.getpid()), "2"
os.execv(sys.executable, [sys.executable, "-m", "gateway.cli", "serve"])
"""
# After= of gateway.service: what one command names starts in this order and stops in the other.
ORDER = ("gateway.socket", "gateway.service", "gateway-standby.service")


class Service:
    """A gateway that comes and goes; the listeners are its own unless `held` has some for it."""

    def __init__(self, config, held=()):
        self.gateway, self.held = Gateway(config), held

    def start(self):
        held = [str(number) for number in self.held]
        serve = ["-c", LAUNCH, *held] if held else ["-m", "gateway.cli", "serve"]
        self.gateway.command = [sys.executable, *serve]
        self.gateway.pass_fds = tuple(self.held)
        self.gateway.__enter__()

    def stop(self):
        """End it as its unit says, streams first."""
        if self.gateway.process is not None:
            self.gateway.process.send_signal(signal.SIGTERM)
            assert self.gateway.process.wait(15) == 0
            self.gateway.log_file.close()


class Sockets:
    """Listeners that are there whether or not a gateway takes what they hold."""

    def __init__(self, ports):
        self.ports, self.held = ports, []

    def start(self):
        for port in self.ports:
            with socket.create_server(("127.0.0.1", port), backlog=2048) as sock:
                # Above all that the launcher gives a number.
                self.held.append(fcntl.fcntl(sock, fcntl.F_DUPFD, 50))

    def stop(self):
        while self.held:
            os.close(self.held.pop())


class Machine:
    """`with Machine(units) as machine:` has a gateway that runs; `systemctl` changes that."""

    def __init__(self, units):
        self.units = units

    def __enter__(self):
        self.systemctl("systemctl start gateway.socket gateway.service")
        return self

    def __exit__(self, *exc):
        for unit in self.units.values():
            if isinstance(unit, Sockets):
                unit.stop()
            elif unit.gateway.process is not None:
                unit.gateway.stop()

    def systemctl(self, line):
        """Do what a line of a shell says, one command after the other."""
        for command in line.split("&&"):
            _, verb, *names = command.split()
            assert verb in ("start", "stop"), line
            named = {name if "." in name else f"{name}.service" for name in names}
            assert named <= set(ORDER), line
            for name in ORDER if verb == "start" else reversed(ORDER):
                if name in named & self.units.keys():
                    getattr(self.units[name], verb)()
