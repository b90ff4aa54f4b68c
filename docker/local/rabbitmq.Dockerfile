# Stands in for the official RabbitMQ image: the same user ids and folders.
FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN groupadd --gid 999 rabbitmq && useradd --uid 999 --gid 999 --home-dir /var/lib/rabbitmq rabbitmq \
    && apt-get update \
    && apt-get install -y --no-install-recommends rabbitmq-server \
    && rm -rf /var/lib/apt/lists/* /var/lib/rabbitmq \
    && install --directory --owner rabbitmq --group rabbitmq /var/lib/rabbitmq
ENV HOME=/var/lib/rabbitmq RABBITMQ_LOGS=-
VOLUME /var/lib/rabbitmq
USER 999:999
CMD ["/usr/lib/rabbitmq/bin/rabbitmq-server"]
