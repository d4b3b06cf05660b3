/* Paho C exchanges messages with itself through a broker.
 *
 * Usage: exchange HOST PORT VERSION, with VERSION 3 (3.1), 4 (3.1.1) or 5.
 * Ends with exit code 0 when everything came as it should. Link with paho-mqtt3c. */

#include <MQTTClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 20, PATIENCE_MS = 10000, LARGE = 200000 };

static char address[256];
static int version;

#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) {                                                       \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition);       \
            exit(1);                                                              \
        }                                                                         \
    } while (0)

static MQTTClient connected(const char *name, int kept, int expect_session,
                            MQTTClient_willOptions *will) {
    MQTTClient client;
    MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
    create.MQTTVersion = version == 5 ? MQTTVERSION_5 : MQTTVERSION_DEFAULT;
    CHECK(MQTTClient_createWithOptions(&client, address, name, MQTTCLIENT_PERSISTENCE_NONE, NULL,
                                       &create) == MQTTCLIENT_SUCCESS);
    MQTTClient_connectOptions v3 = MQTTClient_connectOptions_initializer;
    MQTTClient_connectOptions v5 = MQTTClient_connectOptions_initializer5;
    MQTTClient_connectOptions *options = version == 5 ? &v5 : &v3;
    options->will = will;
    options->connectTimeout = 10;
    MQTTResponse response = MQTTResponse_initializer;
    if (version == 5) {
        MQTTProperties properties = MQTTProperties_initializer;
        MQTTProperty expiry;
        expiry.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL;
        expiry.value.integer4 = kept ? 600 : 0;
        MQTTProperties_add(&properties, &expiry);
        options->cleanstart = !kept;
        response = MQTTClient_connect5(client, options, &properties, NULL);
        CHECK(response.reasonCode == MQTTREASONCODE_SUCCESS);
        MQTTProperties_free(&properties);
        MQTTResponse_free(response);
    } else {
        options->cleansession = !kept;
        options->MQTTVersion = version;
        CHECK(MQTTClient_connect(client, options) == MQTTCLIENT_SUCCESS);
    }
    /* 3.1 cannot say so. */
    CHECK(version == 3 || version == 5 || options->returned.sessionPresent == expect_session);
    return client;
}

static void subscribe(MQTTClient client, const char *filter, int qos) {
    if (version == 5) {
        MQTTResponse response = MQTTClient_subscribe5(client, filter, qos, NULL, NULL);
        CHECK((int)response.reasonCode == qos);
        MQTTResponse_free(response);
    } else {
        CHECK(MQTTClient_subscribe(client, filter, qos) == MQTTCLIENT_SUCCESS);
    }
}

static void unsubscribe(MQTTClient client, const char *filter) {
    if (version == 5) {
        MQTTResponse response = MQTTClient_unsubscribe5(client, filter, NULL);
        CHECK(response.reasonCode == MQTTREASONCODE_SUCCESS);
        MQTTResponse_free(response);
    } else {
        CHECK(MQTTClient_unsubscribe(client, filter) == MQTTCLIENT_SUCCESS);
    }
}

static void publish(MQTTClient client, const char *topic, const char *payload, int qos,
                    int retained, MQTTProperties *properties) {
    MQTTClient_message message = MQTTClient_message_initializer;
    MQTTClient_deliveryToken token;
    message.payload = (void *)payload;
    message.payloadlen = (int)strlen(payload);
    message.qos = qos;
    message.retained = retained;
    if (version == 5) {
        if (properties) {
            message.properties = *properties;
        }
        MQTTResponse response = MQTTClient_publishMessage5(client, topic, &message, &token);
        CHECK(response.reasonCode == MQTTREASONCODE_SUCCESS);
        MQTTResponse_free(response);
    } else {
        CHECK(MQTTClient_publishMessage(client, topic, &message, &token) == MQTTCLIENT_SUCCESS);
    }
    if (qos > 0) {
        CHECK(MQTTClient_waitForCompletion(client, token, PATIENCE_MS) == MQTTCLIENT_SUCCESS);
    }
}

/* The next message; the caller frees it. */
static MQTTClient_message *next(MQTTClient client, const char *topic) {
    char *got;
    int length;
    MQTTClient_message *message;
    int result = MQTTClient_receive(client, &got, &length, &message, PATIENCE_MS);
    /* The library reads for all clients of the process: an error may be of another one. */
    while (message == NULL && result != MQTTCLIENT_SUCCESS) {
        result = MQTTClient_receive(client, &got, &length, &message, PATIENCE_MS);
    }
    CHECK(message != NULL);
    CHECK(strcmp(got, topic) == 0);
    MQTTClient_free(got);
    return message;
}

static void expect(MQTTClient client, const char *topic, const char *payload, int qos,
                   int retained) {
    MQTTClient_message *message = next(client, topic);
    CHECK(message->payloadlen == (int)strlen(payload));
    CHECK(memcmp(message->payload, payload, strlen(payload)) == 0);
    CHECK(message->qos == qos && message->retained == retained);
    MQTTClient_freeMessage(&message);
}

static void leave(MQTTClient client) {
    if (version == 5) {
        MQTTClient_disconnect5(client, 1000, MQTTREASONCODE_SUCCESS, NULL);
    } else {
        MQTTClient_disconnect(client, 1000);
    }
    MQTTClient_destroy(&client);
}

static void exchange_at(MQTTClient publisher, MQTTClient subscriber, int qos) {
    char filter[32], topic[32], payload[32];
    static char large[LARGE + 1];
    sprintf(filter, "c/%d/+", qos);
    sprintf(topic, "c/%d/\xc3\xa4", qos);
    subscribe(subscriber, filter, qos);
    for (int number = 0; number < COUNT; number++) {
        sprintf(payload, "message %d", number);
        publish(publisher, topic, payload, qos, 0, NULL);
    }
    for (int number = 0; number < COUNT; number++) {
        sprintf(payload, "message %d", number);
        expect(subscriber, topic, payload, qos, 0);
    }
    memset(large, 'x', LARGE);
    publish(publisher, topic, large, qos, 0, NULL);
    expect(subscriber, topic, large, qos, 0);
    unsubscribe(subscriber, filter);
}

static void keep_and_resume(MQTTClient publisher, MQTTClient subscriber) {
    publish(publisher, "c/kept", "kept", 1, 1, NULL);
    subscribe(subscriber, "c/kept", 1);
    expect(subscriber, "c/kept", "kept", 1, 1);
    publish(publisher, "c/kept", "", 1, 1, NULL);
    expect(subscriber, "c/kept", "", 1, 0);

    MQTTClient away = connected("c away", 1, 0, NULL);
    subscribe(away, "c/away", 2);
    leave(away);
    publish(publisher, "c/away", "while away", 1, 0, NULL);
    publish(publisher, "c/away", "while away", 2, 0, NULL);
    away = connected("c away", 1, 1, NULL);
    expect(away, "c/away", "while away", 1, 0);
    expect(away, "c/away", "while away", 2, 0);
    leave(away);
}

/* Connects with a will and ends without DISCONNECT. */
static int be_mortal(void) {
    MQTTClient_willOptions will = MQTTClient_willOptions_initializer;
    will.topicName = "c/will";
    will.message = "gone";
    will.qos = 1;
    connected("c mortal", 0, 0, &will);
    return 0;
}

/* In a process of its own: the library's clients of one process disturb each other. */
static void leave_a_will(MQTTClient subscriber, char **arguments) {
    char command[1024];
    snprintf(command, sizeof command, "'%s' %s %s %s mortal", arguments[0], arguments[1],
             arguments[2], arguments[3]);
    subscribe(subscriber, "c/will", 1);
    CHECK(system(command) == 0);
    expect(subscriber, "c/will", "gone", 1, 0);
}

static void share(MQTTClient publisher) {
    char payload[32];
    int seen[COUNT] = {0};
    MQTTClient members[2] = {connected("c member 0", 0, 0, NULL),
                             connected("c member 1", 0, 0, NULL)};
    for (int one = 0; one < 2; one++) {
        subscribe(members[one], "$share/c/c/shared", 1);
    }
    for (int number = 0; number < COUNT; number++) {
        sprintf(payload, "%02d", number);
        publish(publisher, "c/shared", payload, 1, 0, NULL);
    }
    for (int number = 0; number < COUNT; number++) {
        MQTTClient_message *message = next(members[number % 2], "c/shared");
        CHECK(message->payloadlen == 2);
        memcpy(payload, message->payload, 2);
        payload[2] = 0;
        CHECK(seen[atoi(payload)]++ == 0);
        MQTTClient_freeMessage(&message);
    }
    leave(members[0]);
    leave(members[1]);
}

static void add_text(MQTTProperties *properties, enum MQTTPropertyCodes code, char *text,
                     char *second) {
    MQTTProperty property;
    property.identifier = code;
    property.value.data.data = text;
    property.value.data.len = (int)strlen(text);
    if (second) {
        property.value.value.data = second;
        property.value.value.len = (int)strlen(second);
    }
    MQTTProperties_add(properties, &property);
}

static void carry_properties(MQTTClient publisher, MQTTClient subscriber) {
    MQTTProperties properties = MQTTProperties_initializer;
    add_text(&properties, MQTTPROPERTY_CODE_CONTENT_TYPE, "text/plain", NULL);
    add_text(&properties, MQTTPROPERTY_CODE_RESPONSE_TOPIC, "c/answer", NULL);
    add_text(&properties, MQTTPROPERTY_CODE_USER_PROPERTY, "one", "1");
    add_text(&properties, MQTTPROPERTY_CODE_USER_PROPERTY, "one", "3");
    subscribe(subscriber, "c/properties", 1);
    publish(publisher, "c/properties", "with properties", 1, 0, &properties);
    MQTTClient_message *message = next(subscriber, "c/properties");
    MQTTProperty *type =
        MQTTProperties_getProperty(&message->properties, MQTTPROPERTY_CODE_CONTENT_TYPE);
    CHECK(type && type->value.data.len == 10 && !memcmp(type->value.data.data, "text/plain", 10));
    MQTTProperty *second = MQTTProperties_getPropertyAt(&message->properties,
                                                        MQTTPROPERTY_CODE_USER_PROPERTY, 1);
    CHECK(second && second->value.value.len == 1 && second->value.value.data[0] == '3');
    CHECK(MQTTProperties_hasProperty(&message->properties, MQTTPROPERTY_CODE_RESPONSE_TOPIC));
    MQTTClient_freeMessage(&message);
    MQTTProperties_free(&properties);
}

int main(int count, char **arguments) {
    CHECK(count >= 4);
    snprintf(address, sizeof address, "tcp://%s:%s", arguments[1], arguments[2]);
    version = atoi(arguments[3]);
    if (count == 5) {
        return be_mortal();
    }
    MQTTClient publisher = connected("c publisher", 0, 0, NULL);
    MQTTClient subscriber = connected("c subscriber", 0, 0, NULL);
    for (int qos = 0; qos <= 2; qos++) {
        exchange_at(publisher, subscriber, qos);
    }
    keep_and_resume(publisher, subscriber);
    leave_a_will(subscriber, arguments);
    share(publisher);
    if (version == 5) {
        carry_properties(publisher, subscriber);
    }
    leave(publisher);
    leave(subscriber);
    return 0;
}
