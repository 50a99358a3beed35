# limner's studio in a container.
#
#     docker build -t limner .                                  # for processors alone
#     docker build --build-arg TORCH=cu130 -t limner:gpu .      # for NVIDIA GPUs: docker run --gpus all ...
#
# TORCH names one of the package indices at download.pytorch.org/whl, such as cpu or cu130.
# How to run it: docs/deployment.md
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
ARG TORCH=cpu
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/limner
ENV PATH=/opt/limner/bin:$PATH
WORKDIR /source
# torch comes first and alone: it is the largest layer and changes least
COPY constraints.txt ./
RUN pip install --constraint constraints.txt --index-url "https://download.pytorch.org/whl/${TORCH}" \
        --extra-index-url https://pypi.org/simple torch
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --constraint constraints.txt ".[studio,postgres,s3,heic]"

FROM python:${PYTHON}-slim-bookworm
LABEL org.opencontainers.image.title="limner" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/limner /opt/limner
# a user without rights: it can write the data folder, its own home and /tmp
RUN useradd --uid 10001 --create-home --home-dir /home/limner --shell /usr/sbin/nologin limner \
    && install --directory --owner limner --group limner --mode 0700 /data
ENV PATH=/opt/limner/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LIMNER_CACHE=/data/cache \
    HF_HOME=/data/hub
USER limner
WORKDIR /home/limner
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/readyz', timeout=4)"]
# the server ends in order on SIGTERM: running jobs go back to the queue
STOPSIGNAL SIGTERM
ENTRYPOINT ["limner"]
CMD ["studio", "--host", "0.0.0.0", "--port", "7860", "--data", "/data"]
