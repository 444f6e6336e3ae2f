# Stands in for the official image of RabbitMQ where no registry can be reached: Debian's package, the same folders.
ARG BASE
FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends rabbitmq-server && rm -rf /var/lib/apt/lists/* /var/lib/rabbitmq/mnesia
USER rabbitmq
ENV HOME=/var/lib/rabbitmq
CMD ["/usr/lib/rabbitmq/bin/rabbitmq-server"]
