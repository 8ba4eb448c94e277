# One Dockerfile for all processes, built from the root of the repository:
#
#   docker build -f deploy/docker/service.Dockerfile --build-arg SERVICE=api -t crm-webhooks-api .
#
# SERVICE is api, worker, monitor or hooksctl. Every image also holds /hooksctl,
# for health checks (hooksctl probe) and for a look from inside (hooksctl doctor
# --service api): each has the settings of its own service only.

FROM golang:1.26-bookworm AS build
ENV CGO_ENABLED=0 GOWORK=off GOTOOLCHAIN=local
WORKDIR /src

# Dependencies first: they change less often than code. hooksctl embeds the
# services, so its dependencies are those of all.
COPY schema/go.mod schema/
COPY pkg/go.mod pkg/go.sum pkg/
COPY services/api/go.mod services/api/go.sum services/api/
COPY services/worker/go.mod services/worker/go.sum services/worker/
COPY services/monitor/go.mod services/monitor/go.sum services/monitor/
COPY services/hooksctl/go.mod services/hooksctl/go.sum services/hooksctl/
RUN cd services/hooksctl && go mod download

COPY schema schema
COPY pkg pkg
COPY services services

# Before ARG SERVICE: this layer is the same for all images, and its build cache
# leaves little to do for the next step.
ARG VERSION=dev
RUN cd services/hooksctl && go build -trimpath \
    -ldflags "-s -w -X github.com/crm-webhooks/crm-webhooks/pkg/obs.version=${VERSION}" -o /out/hooksctl .

ARG SERVICE
RUN test -n "${SERVICE}" || { echo "give --build-arg SERVICE=api, worker, monitor or hooksctl" >&2; exit 1; } && \
    cd "services/${SERVICE}" && go build -trimpath \
    -ldflags "-s -w -X github.com/crm-webhooks/crm-webhooks/pkg/obs.version=${VERSION}" -o /out/service .

# CA certificates, time zones, a user, and no shell.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/ /
USER 65532:65532
ENTRYPOINT ["/service"]
