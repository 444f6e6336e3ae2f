# Stands in for the official image of PostgreSQL where no registry can be reached: Debian's package, and what of the official
# entrypoint compose.yaml relies on.
ARG BASE
FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends postgresql-15 && rm -rf /var/lib/apt/lists/* && \
    mkdir -p /var/lib/postgresql/data && chown postgres /var/lib/postgresql/data
COPY postgres-entrypoint /entrypoint
ENV PATH=/usr/lib/postgresql/15/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER postgres
STOPSIGNAL SIGINT
CMD ["/entrypoint"]
