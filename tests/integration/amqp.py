#!/usr/bin/python3
"""What the end-to-end tests ask of an AMQP client that shares no code with ours.

amqp.py HOST:PORT VHOST declare QUEUE ARGUMENTS   a durable queue with these arguments (JSON)
amqp.py HOST:PORT VHOST take QUEUE                the next message with all its properties, taken off the queue
amqp.py HOST:PORT VHOST publish QUEUE HEADERS BODY
The answer is one JSON value on stdout.
"""

import json
import sys

import pika


def connect(address, vhost):
    host, _, port = address.rpartition(":")
    return pika.BlockingConnection(pika.ConnectionParameters(host=host, port=int(port), virtual_host=vhost))


def declare(channel, queue, arguments):
    channel.queue_declare(queue, durable=True, arguments=json.loads(arguments))
    return {}


def take(channel, queue):
    _method, properties, body = channel.basic_get(queue, auto_ack=True)
    if body is None:
        return None
    message = {name: value for name, value in vars(properties).items() if value is not None}
    message["body"] = body.decode()
    return message


def publish(channel, queue, headers, body):
    channel.confirm_delivery()
    channel.basic_publish("", queue, body.encode(), pika.BasicProperties(headers=json.loads(headers)), mandatory=True)
    return {}


def main():
    address, vhost, verb, *arguments = sys.argv[1:]
    connection = connect(address, vhost)
    answer = {"declare": declare, "take": take, "publish": publish}[verb](connection.channel(), *arguments)
    connection.close()
    print(json.dumps(answer, default=str))


if __name__ == "__main__":
    main()
