# kda-edge on a Jetson Orin with JetPack 6.2: TensorRT 10.3, CUDA 12.6, Python 3.10. Not tried on a device.
#
#   docker build -f docs/docker/jetpack62.Dockerfile -t kda-edge:jetpack62 .
#   docker run --rm --runtime nvidia --user "$(id -u):$(id -g)" --group-add video -v "$PWD:/data" \
#       -e KDA_EDGE_CACHE=/data/.kda-edge kda-edge:jetpack62 /data/scene.tif --engine tensorrt
#
# TensorRT can be imported in a running container only: the runtime adds libraries of the device to it.
FROM nvcr.io/nvidia/l4t-tensorrt:r10.3.0-devel

RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*

# A Jetson's GPU belongs to the group video. Engines are kept where this user alone may write.
RUN useradd --uid 10001 --groups video --create-home kda \
    && install --directory --owner kda --group kda --mode 700 /var/cache/kda-edge
ENV KDA_EDGE_CACHE=/var/cache/kda-edge

WORKDIR /srv/kda-edge
COPY pyproject.toml setup.py README.md LICENSE ./
COPY kda_edge kda_edge
COPY train train
COPY export export
COPY runtime runtime
COPY benchmarks benchmarks

# TensorRT comes with the image, not from pip. cuda-bindings must be of the device's CUDA, 12.
RUN python3 -m venv --system-site-packages /srv/venv \
    && /srv/venv/bin/python -m pip install --no-cache-dir --upgrade 'pip>=25.1' \
    && /srv/venv/bin/python -m pip install --no-cache-dir . 'cuda-bindings~=12.8' onnx

USER kda
WORKDIR /data
ENTRYPOINT ["/srv/venv/bin/kda-infer"]
