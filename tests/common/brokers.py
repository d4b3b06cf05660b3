"""Brokers in processes of their own, for the scripts that are written in Python."""

import http.client
import json
import os
import signal
import socket
import subprocess
import time

BROKER = os.path.abspath(os.environ.get("SHARDMQ_TEST_BROKER", "target/debug/shardmq"))


def environment():
    """Variables that begin with SHARDMQ_ are configuration, and not the test's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SHARDMQ_")}


class Socket(http.client.HTTPConnection):
    """HTTP over the broker's socket in its data folder."""

    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Node:
    """A broker. Node N of a list has the number N + 1, and is at hosts[N]."""

    def __init__(self, folder, number, hosts, port, links, settings=(), enter=(), data=None):
        self.number, self.host, self.port = number, hosts[number], port
        self.name = f"n{number + 1}@{self.host}"
        self.folder = os.path.join(folder, str(number + 1))
        self.data = data or os.path.join(self.folder, "data")
        self.log = os.path.join(self.folder, "log")
        self.enter = list(enter)
        seeds = [f"n{one + 1}@{host}:{links}" for one, host in enumerate(hosts)]
        self.settings = {
            "node.name": seeds[number],
            "shards.count": "1",
            "cluster.discovery_strategy": "static",
            "cluster.static.seeds": ",".join(seeds[:3]),
            **dict(settings),
        }
        os.makedirs(self.folder, exist_ok=True)
        self.process = None
        self.start()

    def start(self):
        words = [word for pair in self.settings.items() for word in ("--set", "=".join(pair))]
        command = [BROKER, "--bind", f"{self.host}:{self.port}", "--data-dir", self.data, *words]
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                self.enter + command, stdout=log, stderr=subprocess.STDOUT, env=environment()
            )

    def ctl(self, *words):
        command = [BROKER, "ctl", *words, "--data-dir", self.data]
        return subprocess.run(command, capture_output=True, text=True, env=environment())

    def ask(self, path):
        """What its HTTP interface answers, or None."""
        try:
            connection = Socket(os.path.join(self.data, "shardmq.sock"))
            connection.request("GET", "/api/v5" + path)
            return json.loads(connection.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException):
            return None

    def running(self):
        """How many nodes run, as this one knows."""
        return self.ctl("cluster", "status").stdout.count(" running ")

    def sessions(self):
        """How many sessions are here."""
        answer = self.ctl("clients", "list", "--node", self.name)
        return len(answer.stdout.splitlines()) - 1 if answer.returncode == 0 else None

    def logged(self, text, begin=0):
        """How many lines of its log have a text, from an offset on."""
        with open(self.log, errors="replace") as log:
            log.seek(begin)
            return sum(text in line for line in log)

    def log_size(self):
        return os.path.getsize(self.log)

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """Kills it, also when it was told to stand still."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Has it end by itself; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()


def within(seconds, is_so):
    """Whether something becomes so in that time."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
