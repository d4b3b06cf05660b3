"""aiomqtt exchanges messages with itself through a broker.

Usage: exchange_aiomqtt.py HOST PORT VERSION, with VERSION 3 (3.1), 4 (3.1.1) or 5.
Ends with exit code 0 when everything came as it should.
"""

import asyncio
import sys

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE = 10
COUNT = 20

host, port, version = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def client(identifier, kept=False, will=None):
    """A client that is not connected yet."""
    arguments = {"clean_session": not kept}
    if version == 5:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 600 if kept else 0
        arguments = {"clean_start": not kept, "properties": properties}
    return aiomqtt.Client(
        host,
        port,
        identifier=identifier,
        protocol=aiomqtt.ProtocolVersion(version),
        will=will,
        timeout=PATIENCE,
        **arguments,
    )


async def expect(subscriber, topic, payload, qos):
    message = await asyncio.wait_for(anext(aiter(subscriber.messages)), PATIENCE)
    got = (str(message.topic), message.payload, message.qos)
    assert got == (topic, payload.encode(), qos), f"got {got}"
    return message


async def main():
    async with client("aio publisher") as publisher, client("aio subscriber") as subscriber:
        for qos in (0, 1, 2):
            topic = f"aio/{qos}/ä"
            await subscriber.subscribe(f"aio/{qos}/+", qos)
            for number in range(COUNT):
                await publisher.publish(topic, f"message {number}", qos)
            for number in range(COUNT):
                message = await expect(subscriber, topic, f"message {number}", qos)
                assert not message.retain
            await subscriber.unsubscribe(f"aio/{qos}/+")

        await publisher.publish("aio/kept", "kept", 1, retain=True)
        await subscriber.subscribe("aio/kept", 1)
        assert (await expect(subscriber, "aio/kept", "kept", 1)).retain
        await publisher.publish("aio/kept", "", 1, retain=True)
        await expect(subscriber, "aio/kept", "", 1)

        async with client("aio away", kept=True) as away:
            await away.subscribe("aio/away", 2)
        for qos in (1, 2):
            await publisher.publish("aio/away", "while away", qos)
        async with client("aio away", kept=True) as away:
            for qos in (1, 2):
                await expect(away, "aio/away", "while away", qos)

        await subscriber.subscribe("aio/will", 1)
        will = aiomqtt.Will("aio/will", "gone", 1)
        mortal = client("aio mortal", will=will)
        await mortal.__aenter__()
        mortal._client.socket().shutdown(2)
        await expect(subscriber, "aio/will", "gone", 1)

        async with client("aio member 1") as one, client("aio member 2") as two:
            for member in (one, two):
                await member.subscribe("$share/aio/aio/shared", 1)
            for number in range(COUNT):
                await publisher.publish("aio/shared", f"message {number}", 1)
            shared = []
            for member in (one, two):
                messages = aiter(member.messages)
                for _ in range(COUNT // 2):
                    message = await asyncio.wait_for(anext(messages), PATIENCE)
                    shared.append(message.payload)
            assert sorted(shared) == sorted(f"message {n}".encode() for n in range(COUNT))

        if version == 5:
            await subscriber.subscribe("aio/properties", 1)
            properties = Properties(PacketTypes.PUBLISH)
            properties.ContentType = "text/plain"
            properties.UserProperty = [("one", "1"), ("two", "2"), ("one", "3")]
            await publisher.publish("aio/properties", "with properties", 1, properties=properties)
            message = await expect(subscriber, "aio/properties", "with properties", 1)
            assert message.properties.ContentType == "text/plain"
            expected = [("one", "1"), ("two", "2"), ("one", "3")]
            assert message.properties.UserProperty == expected


asyncio.run(main())
