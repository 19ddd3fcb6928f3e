# kda-edge on a Jetson Thor with JetPack 7: TensorRT 10.13, CUDA 13.0, Python 3.12. Not tried on a device.
#
#   docker build -f docs/docker/jetpack7.Dockerfile -t kda-edge:jetpack7 .
#   docker run --rm --runtime nvidia --user "$(id -u):$(id -g)" --group-add video -v "$PWD:/data" \
#       -e KDA_EDGE_CACHE=/data/.kda-edge kda-edge:jetpack7 /data/scene.tif --engine tensorrt
#
# There is no l4t image for JetPack 7 (Jetson Linux r38): its devices run the images for ARM servers (SBSA).
FROM nvcr.io/nvidia/tensorrt:25.08-py3

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

# TensorRT comes with the image, not from pip. cuda-bindings must be of the device's CUDA, 13.
RUN python3 -m venv --system-site-packages /srv/venv \
    && /srv/venv/bin/python -m pip install --no-cache-dir --upgrade 'pip>=25.1' \
    && /srv/venv/bin/python -m pip install --no-cache-dir . 'cuda-bindings~=13.0' onnx

USER kda
WORKDIR /data
ENTRYPOINT ["/srv/venv/bin/kda-infer"]
