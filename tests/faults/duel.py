"""Who owns a client identifier, and who has an exclusive subscription."""

import select
import socket
import struct
import threading
import time


def text(value):
    return struct.pack(">H", len(value)) + value.encode()


def packet(first, *parts):
    body = b"".join(parts)
    return bytes([first, len(body)]) + body


class Raw:
    """A connection on which packets are sent by hand."""

    def __init__(self, host, port, name, seconds=12):
        self.stream = socket.create_connection((host, port), 3)
        self.stream.settimeout(seconds)
        self.stream.sendall(packet(0x10, text("MQTT"), b"\x04\x02\0\x3c", text(name)))

    def read(self, count):
        found = b""
        while len(found) < count:
            more = self.stream.recv(count - len(found))
            if not more:
                raise OSError("closed")
            found += more
        return found

    def packet(self):
        head = self.read(2)
        return head[0], self.read(head[1])

    def is_let_in(self):
        first, body = self.packet()
        return first == 0x20 and body[1] == 0

    def is_live(self, seconds=2):
        """Whether its message is acknowledged: it is by an owner only."""
        try:
            self.stream.settimeout(seconds)
            self.stream.sendall(packet(0x32, text("live"), b"\0\x07"))
            return self.packet()[0] == 0x40
        except OSError:
            return False

    def is_open(self):
        """Whether the connection is still there."""
        if select.select([self.stream], [], [], 0)[0]:
            try:
                return self.stream.recv(1, socket.MSG_PEEK) != b""
            except OSError:
                return False
        return True

    def subscribes(self, filter):
        """Whether a subscription is granted."""
        self.stream.sendall(packet(0x82, b"\0\x09", text(filter), b"\x01"))
        return self.packet()[1][2] < 0x80

    def close(self):
        self.stream.close()


class Duel:
    """A client that is connected to a node before the fault, and tries another in it."""

    def __init__(self, world, at):
        self.world, self.at, self.name = world, at, f"owned-{at + 1}"
        self.first = Raw(world.hosts[at], world.port, self.name)
        self.second, self.other = None, None
        if not self.first.is_let_in():
            raise RuntimeError("the owner of an identifier is not let in")

    def challenge(self, other):
        """Connects elsewhere; in a thread, since it may wait."""
        self.other = other

        def connect():
            try:
                found = Raw(self.world.hosts[other], self.world.port, self.name)
                if found.is_let_in():
                    self.second = found
            except OSError:
                pass

        self.thread = threading.Thread(target=connect, daemon=True)
        self.thread.start()

    def live(self):
        """How many are served as the owner."""
        if self.other is not None:
            self.thread.join()
        both = [one for one in (self.first, self.second) if one]
        return sum(one.is_live() for one in both)


def at_once(world, name):
    """The identifier is connected on every node at once: how many are left, and let in."""
    found = {}

    def connect(at):
        try:
            one = Raw(world.hosts[at], world.port, name)
            if one.is_let_in():
                found[at] = one
        except OSError:
            pass

    threads = [threading.Thread(target=connect, args=(at,)) for at in world.reachable()]
    world.random.shuffle(threads)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(0.5)
    live = sum(one.is_live() for one in found.values())
    for one in found.values():
        one.close()
    return live, len(found)


def exclusive(world, filter):
    """How many of those that ask for an exclusive subscription at once have it."""
    clients = [Raw(world.hosts[at], world.port, f"ex-{at}") for at in world.reachable()]
    granted, lock = [], threading.Lock()

    def subscribe(client):
        try:
            if client.is_let_in() and client.subscribes(f"$exclusive/{filter}"):
                with lock:
                    granted.append(client)
        except OSError:
            pass

    threads = [threading.Thread(target=subscribe, args=(one,)) for one in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.close()
    return len(granted)
