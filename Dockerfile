# On the CPU:        docker build --tag einfluence .
# On NVIDIA's GPUs:  docker build --tag einfluence:cuda --build-arg TORCH_INDEX=https://pypi.org/simple .
# docs/operations.md says how it is run. PyTorch's own index has builds for the CPU, PyPI those that bring CUDA along.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-trixie AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
RUN python -m venv /opt/einfluence
ENV PATH=/opt/einfluence/bin:$PATH
COPY constraints.txt ./
RUN pip install --index-url "${TORCH_INDEX}" "$(grep '^torch==' constraints.txt)"
COPY pyproject.toml README.md LICENSE ./
COPY einfluence einfluence
COPY tasks tasks
COPY flows flows
COPY data data
RUN pip install --constraint constraints.txt '.[explore,s3,dask]'

FROM python:${PYTHON}-slim-trixie
COPY --from=build /opt/einfluence /opt/einfluence
ENV PATH=/opt/einfluence/bin:$PATH EINFLUENCE_CACHE=/cache HF_HOME=/cache/huggingface PREFECT_HOME=/cache/prefect
RUN useradd --create-home --uid 1000 einfluence \
  && mkdir /cache /study \
  && chown einfluence: /cache /study
USER 1000
WORKDIR /study
VOLUME ["/cache", "/study"]
ENTRYPOINT ["einfluence"]
CMD ["--help"]
