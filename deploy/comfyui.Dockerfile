# A ComfyUI as it comes, of a version that Dreamloop is tested with. Models are mounted, see compose.yaml.
FROM python:3.12-slim-bookworm

ARG COMFYUI_VERSION=v0.3.64
# For AMD https://download.pytorch.org/whl/rocm6.4, for none at all https://download.pytorch.org/whl/cpu.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cu128
ENV PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

RUN apt-get update \
    && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*
RUN git clone --depth 1 --branch "$COMFYUI_VERSION" https://github.com/comfyanonymous/ComfyUI.git /comfyui
WORKDIR /comfyui
RUN pip install --index-url "$TORCH_INDEX" torch torchvision torchaudio \
    && pip install -r requirements.txt

RUN useradd --uid 1000 --create-home comfyui && chown -R comfyui:comfyui /comfyui
USER comfyui

EXPOSE 8188
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=5 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8188/system_stats', timeout=5)"]
ENTRYPOINT ["python", "main.py", "--listen", "0.0.0.0", "--port", "8188"]
