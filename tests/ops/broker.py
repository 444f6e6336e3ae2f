"""What broker.sh needs of the shipped definitions and of a second AMQP client.

broker.py move FILE VHOST [users]   the definitions for another virtual host; "users": without queues, exchanges and bindings
broker.py same DEFINITIONS POLICIES   fails unless the second file gives every queue what the first one gives it
broker.py try AMQP VHOST USER PASSWORD declare|consume|publish QUEUE   what the broker says: "allowed" or its refusal
"""
import json
import sys

import pika


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def move(path, vhost, only=None):
    definitions = load(path)
    definitions["vhosts"] = [{"name": vhost}]
    for key in ("permissions", "policies", "exchanges", "queues", "bindings"):
        for item in definitions.get(key, []):
            item["vhost"] = vhost
    if only == "users":
        definitions = {key: definitions[key] for key in ("vhosts", "users", "permissions")}
    print(json.dumps(definitions))


def settings(definitions):
    """Queue -> its arguments, those that policies give it included, without the prefix "x-"."""
    found = {queue["name"]: {key[2:]: value for key, value in queue["arguments"].items()} for queue in definitions["queues"]}
    for policy in definitions.get("policies", []):
        names = policy["pattern"].strip("^$").replace("(ag|wb)_parked", "ag_parked wb_parked").split()
        for name in names:
            found[name].update(policy["definition"])
    return found


def same(first, second):
    one, other = load(first), load(second)
    for key in ("users", "exchanges", "bindings"):
        assert one[key] == other[key], key
    assert settings(one) == settings(other), (settings(one), settings(other))


def attempt(address, vhost, user, password, verb, queue):
    host, _, port = address.rpartition(":")
    connection = pika.BlockingConnection(pika.ConnectionParameters(
        host=host, port=int(port), virtual_host=vhost, credentials=pika.PlainCredentials(user, password)))
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        if verb == "declare":
            channel.queue_declare(queue, durable=True)
        elif verb == "consume":
            channel.basic_get(queue)
        else:
            channel.basic_publish(queue, "", b"")
        print("allowed")
    except pika.exceptions.ChannelClosedByBroker as refusal:
        print(refusal.reply_code, refusal.reply_text)
    connection.close()


{"move": move, "same": same, "try": attempt}[sys.argv[1]](*sys.argv[2:])
