# Stands in for the trace viewer: takes what is sent to it, and shows nothing.
FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-minimal libpython3-stdlib \
    && rm -rf /var/lib/apt/lists/*
COPY jaeger-sink /usr/local/bin/jaeger-sink
USER 65534:65534
CMD ["jaeger-sink"]
