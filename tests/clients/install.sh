#!/bin/sh
# Installs the clients that tests/clients.rs drives: Mosquitto's command line clients
# from Debian (where they are missing), Paho Python and MQTT.js below target/clients.
set -eu
cd "$(dirname "$0")/../.."

needed=""
command -v mosquitto_pub >/dev/null || needed="$needed mosquitto-clients"
command -v node >/dev/null || needed="$needed nodejs"
command -v npm >/dev/null || needed="$needed npm"
python3 -c 'import ensurepip, venv' 2>/dev/null || needed="$needed python3-venv"
if [ -n "$needed" ]; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo"
    $sudo apt-get update -qq
    # shellcheck disable=SC2086
    $sudo apt-get install -y -qq --no-install-recommends $needed
fi

mkdir -p target/clients
if ! target/clients/venv/bin/python -c 'import paho.mqtt.client' 2>/dev/null; then
    python3 -m venv target/clients/venv
    target/clients/venv/bin/pip install --quiet --disable-pip-version-check paho-mqtt==2.1.0
fi
if ! NODE_PATH=target/clients/node_modules node -e 'require("mqtt")' 2>/dev/null; then
    npm install --prefix target/clients --silent --no-audit --no-fund mqtt@5.16.0
fi
