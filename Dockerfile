# WebODM's image, our Python packages beside its pins, and our code. docker-compose.override.yml builds it for webapp and worker.
ARG WEBODM_IMAGE=webodm/webodm_webapp:latest
# hadolint ignore=DL3006
FROM ${WEBODM_IMAGE}

SHELL ["/bin/bash", "-eo", "pipefail", "-c"]

# What changes seldom comes first: the packages, under the versions that the image has (checked before and after)
COPY requirements/ours.txt requirements/ours-nodeps.txt /opt/webodm-extensions/requirements/
COPY deploy /opt/webodm-extensions/deploy
RUN python /opt/webodm-extensions/deploy image-packages --webodm /webodm

COPY app_extensions /opt/webodm-extensions/app_extensions
COPY plugins /opt/webodm-extensions/plugins
COPY docker /opt/webodm-extensions/docker
RUN python /opt/webodm-extensions/deploy image-code --webodm /webodm

# WebODM's start.sh calls gunicorn and nginx by name: ours come first, prepare, and hand over
ENV PATH="/opt/webodm-extensions/docker/bin:$PATH"
