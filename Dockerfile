# syntax=docker/dockerfile:1

# The server in a small image of its own: `docker compose up` starts it with PostgreSQL.

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# Queries are checked against the committed `.sqlx`, not against a database.
ENV SQLX_OFFLINE=true
# The caches outlive the build, so a change of ours does not compile the dependencies again; `target` is one of them and
# not part of the image, hence the copy.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin colloquy \
    && cp target/release/colloquy /usr/local/bin/colloquy

FROM debian:bookworm-slim
# To call a model provider over TLS.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin colloquy
COPY --from=build /usr/local/bin/colloquy /usr/local/bin/colloquy
USER 10001
# Where a `colloquy.toml` may be mounted.
WORKDIR /etc/colloquy
# A container is reached from outside of itself; which port is published, and to whom, is decided there.
ENV COLLOQUY_SERVER__BIND=0.0.0.0:7777
EXPOSE 7777
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["colloquy", "health"]
ENTRYPOINT ["colloquy"]
CMD ["serve"]
