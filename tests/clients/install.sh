#!/bin/sh
# Installs the clients that tests/clients.rs drives: Mosquitto's command line clients
# and Paho C from Debian (where they are missing); Paho Python in both generations, aiomqtt,
# gmqtt and MQTT.js below target/clients.
set -eu
cd "$(dirname "$0")/../.."

needed=""
command -v mosquitto_pub >/dev/null || needed="$needed mosquitto-clients"
command -v node >/dev/null || needed="$needed nodejs"
command -v npm >/dev/null || needed="$needed npm"
python3 -c 'import ensurepip, venv' 2>/dev/null || needed="$needed python3-venv"
command -v cc >/dev/null || needed="$needed gcc libc6-dev"
[ -e /usr/include/MQTTClient.h ] || needed="$needed libpaho-mqtt-dev"
if [ -n "$needed" ]; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo"
    $sudo apt-get update -qq
    # shellcheck disable=SC2086
    $sudo apt-get install -y -qq --no-install-recommends $needed
fi

mkdir -p target/clients
# Paho Python 2 and what is built on it; then Paho Python 1, which cannot be beside it.
if ! target/clients/venv/bin/python -c 'import paho.mqtt.client, aiomqtt' 2>/dev/null; then
    python3 -m venv target/clients/venv
    target/clients/venv/bin/pip install --quiet --disable-pip-version-check \
        paho-mqtt==2.1.0 aiomqtt==2.5.1
fi
if ! target/clients/venv-1/bin/python -c 'import paho.mqtt.client, gmqtt' 2>/dev/null; then
    python3 -m venv target/clients/venv-1
    target/clients/venv-1/bin/pip install --quiet --disable-pip-version-check \
        paho-mqtt==1.6.1 gmqtt==0.7.0
fi
cc -O1 -o target/clients/exchange_c tests/clients/exchange.c -lpaho-mqtt3c
if ! NODE_PATH=target/clients/node_modules node -e 'require("mqtt")' 2>/dev/null; then
    npm install --prefix target/clients --silent --no-audit --no-fund mqtt@5.16.0
fi
