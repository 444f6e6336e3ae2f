#!/usr/bin/python3
"""An AI agent as a Python team would write it from the specification: pika, prefetch 1, durable queues, the specification's members only.

It stands for agents that we do not control. With --declare classic it declares both queues itself with exactly the
specification's arguments, as such an agent does; with --declare passive it expects them to be there.
Prints "ready" when it consumes; ends after --count requests, or on SIGTERM.
"""

import argparse
import json
import os
import signal
import sys
import time
import uuid

import pika


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=os.environ.get("AGWB_TEST_AMQP", "localhost:5672"), help="HOST:PORT")
    parser.add_argument("--user", default="guest")
    parser.add_argument("--password", default="guest")
    parser.add_argument("--vhost", default="/")
    parser.add_argument("--declare", choices=("classic", "passive"), default="passive")
    parser.add_argument("--agent-queue", default="ag_queue")
    parser.add_argument("--webhook-queue", default="wb_queue")
    parser.add_argument("--count", type=int, default=0, help="end after that many requests; 0 = go on")
    return parser.parse_args()


def connect(arguments):
    host, _, port = arguments.host.rpartition(":")
    return pika.BlockingConnection(
        pika.ConnectionParameters(
            host=host,
            port=int(port),
            virtual_host=arguments.vhost,
            credentials=pika.PlainCredentials(arguments.user, arguments.password),
            heartbeat=30,
        )
    )


def declare_queues(channel, arguments):
    if arguments.declare == "passive":
        channel.queue_declare(arguments.agent_queue, passive=True)
        channel.queue_declare(arguments.webhook_queue, passive=True)
        return
    channel.queue_declare(
        arguments.agent_queue,
        durable=True,
        auto_delete=False,
        arguments={"x-message-ttl": 300000, "x-dead-letter-exchange": "dlx_agent"},
    )
    channel.queue_declare(
        arguments.webhook_queue,
        durable=True,
        auto_delete=False,
        arguments={"x-message-ttl": 60000, "x-dead-letter-exchange": "dlx_webhook"},
    )


def make_reply(request, started):
    contact = request["contact"]
    return {
        "messageId": str(uuid.uuid4()),
        "originalMessageId": request["messageId"],
        "timestamp": int(time.time()),
        "status": "success",
        "contact": {
            "remoteJid": contact["remoteJid"],
            "phoneNumber": contact["phoneNumber"],
            "name": contact["name"],
        },
        "response": {
            "text": f"Re: {request['message']['text']} #{request['messageId']}",
            "type": "text",
            "attachments": [],
        },
        "agentMetadata": {
            "toolsUsed": ["database_query"],
            "reasoningSteps": ["read", "answer"],
            "processingTime": time.monotonic() - started,
            "tokensUsed": 150,
        },
    }


def publish(channel, arguments, reply):
    channel.basic_publish(
        exchange="",
        routing_key=arguments.webhook_queue,
        body=json.dumps(reply).encode(),
        properties=pika.BasicProperties(delivery_mode=2, content_type="application/json"),
        mandatory=True,
    )


def main():
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    connection = connect(arguments)
    channel = connection.channel()
    declare_queues(channel, arguments)
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=1)
    handled = 0

    def on_request(_channel, method, _properties, body):
        nonlocal handled
        started = time.monotonic()
        try:
            request = json.loads(body)
            reply = make_reply(request, started)
        except (ValueError, KeyError, TypeError) as error:
            print(f"agent_pika: request refused: {error!r}", file=sys.stderr, flush=True)
            channel.basic_reject(method.delivery_tag, requeue=False)
        else:
            publish(channel, arguments, reply)
            channel.basic_ack(method.delivery_tag)
        handled += 1
        if handled == arguments.count:
            channel.stop_consuming()

    channel.basic_consume(arguments.agent_queue, on_request)
    print("ready", flush=True)
    channel.start_consuming()
    connection.close()


if __name__ == "__main__":
    main()
