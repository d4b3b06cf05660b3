// MQTT.js exchanges messages with itself through a broker.
//
// Usage: node exchange.cjs HOST PORT VERSION, with VERSION 3 (3.1), 4 (3.1.1) or 5.
// Ends with exit code 0 when everything came as it should.

const assert = require('node:assert')
const mqtt = require('mqtt')

const COUNT = 20
const [host, port, version] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]

class Client {
  constructor(client) {
    this.mqtt = client
    this.messages = []
    this.waiting = []
    client.on('message', (topic, payload, packet) => {
      const message = { topic, payload: payload.toString(), packet }
      const next = this.waiting.shift()
      next ? next(message) : this.messages.push(message)
    })
  }

  static async connect(clientId, kept = false, will = undefined) {
    const client = mqtt.connect({
      host,
      port,
      clientId,
      protocolVersion: version,
      protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
      clean: !kept,
      will,
      reconnectPeriod: 0,
      resubscribe: false,
      properties: version === 5 ? { sessionExpiryInterval: kept ? 600 : 0 } : undefined
    })
    const result = new Client(client)
    await new Promise((resolve, reject) => {
      client.once('connect', (packet) => {
        result.sessionPresent = packet.sessionPresent
        resolve()
      })
      client.once('error', reject)
      client.once('close', () => reject(new Error('closed before CONNACK')))
    })
    return result
  }

  async subscribe(topic, qos) {
    const granted = await this.mqtt.subscribeAsync(topic, { qos })
    assert.deepStrictEqual(granted.map((grant) => grant.qos), [qos])
  }

  publish(topic, payload, options) {
    return this.mqtt.publishAsync(topic, payload, options)
  }

  async expect(topic, payload, qos) {
    const message = this.messages.shift() ?? await new Promise((resolve) => {
      this.waiting.push(resolve)
    })
    assert.deepStrictEqual(
      [message.topic, message.payload, message.packet.qos],
      [topic, payload, qos]
    )
    return message.packet
  }
}

async function main() {
  const publisher = await Client.connect('js publisher')
  const subscriber = await Client.connect('js subscriber')

  for (const qos of [0, 1, 2]) {
    const topic = `js/${qos}/ä`
    await subscriber.subscribe(`js/${qos}/+`, qos)
    for (let number = 0; number < COUNT; number += 1) {
      await publisher.publish(topic, `message ${number}`, { qos })
    }
    for (let number = 0; number < COUNT; number += 1) {
      assert(!(await subscriber.expect(topic, `message ${number}`, qos)).retain)
    }
    const large = 'x'.repeat(200_000)
    await publisher.publish(topic, large, { qos })
    await subscriber.expect(topic, large, qos)
    await subscriber.mqtt.unsubscribeAsync(`js/${qos}/+`)
  }

  await publisher.publish('js/kept', 'kept', { qos: 1, retain: true })
  await subscriber.subscribe('js/kept', 1)
  assert((await subscriber.expect('js/kept', 'kept', 1)).retain)
  await publisher.publish('js/kept', '', { qos: 1, retain: true })
  await subscriber.expect('js/kept', '', 1)

  let away = await Client.connect('js away', true)
  await away.subscribe('js/away', 2)
  await away.mqtt.endAsync()
  for (const qos of [1, 2]) {
    await publisher.publish('js/away', 'while away', { qos })
  }
  away = await Client.connect('js away', true)
  assert(away.sessionPresent || version === 3)
  for (const qos of [1, 2]) {
    await away.expect('js/away', 'while away', qos)
  }

  await subscriber.subscribe('js/will', 1)
  const mortal = await Client.connect('js mortal', false, {
    topic: 'js/will',
    payload: Buffer.from('gone'),
    qos: 1
  })
  mortal.mqtt.stream.destroy()
  await subscriber.expect('js/will', 'gone', 1)

  const members = [await Client.connect('js member 1'), await Client.connect('js member 2')]
  for (const member of members) {
    await member.subscribe('$share/js/js/shared', 1)
  }
  for (let number = 0; number < COUNT; number += 1) {
    await publisher.publish('js/shared', 'shared', { qos: 1 })
  }
  for (const member of members) {
    for (let number = 0; number < COUNT / 2; number += 1) {
      await member.expect('js/shared', 'shared', 1)
    }
  }

  if (version === 5) {
    await subscriber.subscribe('js/properties', 1)
    const properties = {
      contentType: 'text/plain',
      responseTopic: 'js/answer',
      correlationData: Buffer.from([0, 255]),
      userProperties: { one: ['1', '3'], two: '2' }
    }
    await publisher.publish('js/properties', 'with properties', { qos: 1, properties })
    const got = (await subscriber.expect('js/properties', 'with properties', 1)).properties
    assert.strictEqual(got.contentType, 'text/plain')
    assert.strictEqual(got.responseTopic, 'js/answer')
    assert.deepStrictEqual(got.correlationData, Buffer.from([0, 255]))
    assert.deepStrictEqual({ ...got.userProperties }, { one: ['1', '3'], two: '2' })
  }

  assert.strictEqual(subscriber.messages.length, 0)
  for (const client of [publisher, subscriber, away, ...members]) {
    await client.mqtt.endAsync()
  }
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
