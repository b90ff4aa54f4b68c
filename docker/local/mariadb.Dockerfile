# Stands in for the official MariaDB image: the same variables, as far as compose.yaml uses them.
FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN groupadd --gid 999 mysql && useradd --uid 999 --gid 999 --no-create-home mysql \
    && apt-get update \
    && apt-get install -y --no-install-recommends mariadb-server \
    && rm -rf /var/lib/apt/lists/* /var/lib/mysql \
    && install --directory --owner mysql --group mysql /var/lib/mysql /run/mysqld
COPY mariadb-entrypoint /usr/local/bin/docker-entrypoint.sh
VOLUME /var/lib/mysql
USER 999:999
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["mariadbd"]
