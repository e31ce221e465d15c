# A small image without a shell, not run as root; paths, links and ports are those of etcd's
# own image, so that a command line that starts one starts the other.

FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libclang-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p sternpost-server
# What the image is made of, links and empty data directories included.
RUN mkdir -p /image/usr/local/bin /image/var/lib/etcd /image/var/etcd \
    && cp target/release/sternpost /image/usr/local/bin/sternpost \
    && strip /image/usr/local/bin/sternpost \
    && ln -s sternpost /image/usr/local/bin/etcd \
    && ln -s sternpost /image/usr/local/bin/etcdutl \
    && chmod 0700 /image/var/lib/etcd /image/var/etcd

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build --chown=nonroot:nonroot /image/var /var
COPY --from=build /image/usr/local/bin /usr/local/bin
ENV PATH=/usr/local/bin:/usr/bin:/bin
EXPOSE 2379 2380
USER nonroot
WORKDIR /
CMD ["/usr/local/bin/etcd"]
