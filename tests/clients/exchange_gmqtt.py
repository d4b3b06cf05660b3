"""gmqtt exchanges messages with itself through a broker.

Usage: exchange_gmqtt.py HOST PORT VERSION, with VERSION 4 (3.1.1) or 5.
Ends with exit code 0 when everything came as it should.
"""

import asyncio
import sys

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

PATIENCE = 10
COUNT = 20

host, port = sys.argv[1], int(sys.argv[2])
version = {"4": MQTTv311, "5": MQTTv50}[sys.argv[3]]


class Client:
    """A client that waits for what it has asked for."""

    def __init__(self, identifier, kept=False, will=None):
        self.messages = asyncio.Queue()
        self.granted = asyncio.Queue()
        self.ended = asyncio.Event()
        properties = {}
        if version == MQTTv50:
            properties["session_expiry_interval"] = 600 if kept else 0
        self.gmqtt = gmqtt.Client(
            identifier, clean_session=not kept, will_message=will, **properties
        )
        self.gmqtt.set_config({"reconnect_retries": 0})
        self.gmqtt.on_message = self.got
        self.gmqtt.on_subscribe = lambda _client, _mid, codes, _properties: (
            self.granted.put_nowait(codes)
        )
        self.gmqtt.on_unsubscribe = lambda _client, _mid, codes: self.granted.put_nowait(codes)
        self.gmqtt.on_disconnect = lambda _client, _packet, exc=None: self.ended.set()

    def got(self, _client, topic, payload, qos, properties):
        self.messages.put_nowait((topic, payload, qos, properties))
        return 0

    async def connect(self):
        await asyncio.wait_for(self.gmqtt.connect(host, port, version=version), PATIENCE)
        return self

    async def subscribe(self, topic, qos):
        self.gmqtt.subscribe(topic, qos)
        codes = await asyncio.wait_for(self.granted.get(), PATIENCE)
        assert list(codes) == [qos], f"SUBACK {codes}"

    async def unsubscribe(self, topic):
        self.gmqtt.unsubscribe(topic)
        await asyncio.wait_for(self.granted.get(), PATIENCE)

    async def expect(self, topic, payload, qos):
        got = await asyncio.wait_for(self.messages.get(), PATIENCE)
        assert got[:3] == (topic, payload.encode(), qos), f"got {got}"
        return got[3]

    async def disconnect(self):
        await asyncio.wait_for(self.gmqtt.disconnect(), PATIENCE)


async def main():
    publisher = await Client("gmqtt publisher").connect()
    subscriber = await Client("gmqtt subscriber").connect()

    for qos in (0, 1, 2):
        topic = f"gmqtt/{qos}/ä"
        await subscriber.subscribe(f"gmqtt/{qos}/+", qos)
        for number in range(COUNT):
            publisher.gmqtt.publish(topic, f"message {number}", qos=qos)
        for number in range(COUNT):
            properties = await subscriber.expect(topic, f"message {number}", qos)
            assert not properties["retain"]
        await subscriber.unsubscribe(f"gmqtt/{qos}/+")

    # Who subscribes later gets it as retained, so the first receipt is awaited.
    await subscriber.subscribe("gmqtt/kept", 1)
    publisher.gmqtt.publish("gmqtt/kept", "kept", qos=1, retain=True)
    await subscriber.expect("gmqtt/kept", "kept", 1)
    await publisher.subscribe("gmqtt/kept", 1)
    assert (await publisher.expect("gmqtt/kept", "kept", 1))["retain"]
    await publisher.unsubscribe("gmqtt/kept")
    publisher.gmqtt.publish("gmqtt/kept", "", qos=1, retain=True)
    await subscriber.expect("gmqtt/kept", "", 1)

    away = await Client("gmqtt away", kept=True).connect()
    await away.subscribe("gmqtt/away", 2)
    await away.disconnect()
    await subscriber.subscribe("gmqtt/away", 2)
    for qos in (1, 2):
        publisher.gmqtt.publish("gmqtt/away", "while away", qos=qos)
        await subscriber.expect("gmqtt/away", "while away", qos)
    away = await Client("gmqtt away", kept=True).connect()
    for qos in (1, 2):
        await away.expect("gmqtt/away", "while away", qos)

    await subscriber.subscribe("gmqtt/will", 1)
    will = gmqtt.Message("gmqtt/will", "gone", qos=1)
    mortal = await Client("gmqtt mortal", will=will).connect()
    mortal.gmqtt._connection._transport.abort()
    await subscriber.expect("gmqtt/will", "gone", 1)

    members = [await Client(f"gmqtt member {number}").connect() for number in (1, 2)]
    for member in members:
        await member.subscribe("$share/gmqtt/gmqtt/shared", 1)
    for number in range(COUNT):
        publisher.gmqtt.publish("gmqtt/shared", f"message {number}", qos=1)
    shared = []
    for member in members:
        for _ in range(COUNT // 2):
            shared.append((await asyncio.wait_for(member.messages.get(), PATIENCE))[1])
    assert sorted(shared) == sorted(f"message {number}".encode() for number in range(COUNT))

    if version == MQTTv50:
        await subscriber.subscribe("gmqtt/properties", 1)
        publisher.gmqtt.publish(
            "gmqtt/properties",
            "with properties",
            qos=1,
            content_type="text/plain",
            response_topic="gmqtt/answer",
            correlation_data=b"\x01\xff",
            user_property=[("one", "1"), ("two", "2"), ("one", "3")],
        )
        got = await subscriber.expect("gmqtt/properties", "with properties", 1)
        assert got["content_type"] == ["text/plain"], got
        assert got["response_topic"] == ["gmqtt/answer"], got
        assert got["user_property"] == [("one", "1"), ("two", "2"), ("one", "3")], got

    assert subscriber.messages.empty()
    for client in (publisher, subscriber, away, *members):
        await client.disconnect()


asyncio.run(main())
