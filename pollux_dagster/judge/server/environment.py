"""The environment variables that a managed server gets: those that engines need, and no other service's keys."""

from collections.abc import Mapping

NAMES = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "HOSTNAME", "TERM", "LANG", "LANGUAGE", "TZ", "TMPDIR",
    "VIRTUAL_ENV", "CC", "CXX", "CPATH", "LIBRARY_PATH", "CFLAGS", "CXXFLAGS", "LDFLAGS", "MAX_JOBS",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
})  # fmt: skip
PREFIXES = (
    *("LC_", "XDG_", "LD_", "SSL_", "PYTHON", "CONDA_", "MALLOC_", "GLIBC_"),
    *("CUDA", "NVIDIA_", "NCCL_", "GLOO_", "UCX_", "ROCM", "ROCR_", "HIP_", "HSA_", "AMD_", "GPU_"),
    *("ZE_", "SYCL_", "ONEAPI_", "CCL_", "TPU_", "HABANA_", "ASCEND_"),
    *("OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "NUMBA_"),
    *("VLLM_", "SGLANG_", "SGL_", "HF_", "HUGGINGFACE_", "HUGGING_FACE_", "TRANSFORMERS_", "TOKENIZERS_"),
    *("SAFETENSORS_", "TORCH", "PYTORCH_", "TRITON_", "FLASHINFER_", "XFORMERS_", "RAY_"),
)


def server_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of `environment` that a managed server is started with.

    This is a list of permitted variables and not of forbidden ones, because the key of an attached judge may be in a
    variable of any name. The hub's own token (`HF_TOKEN`) is passed, because gated weights need it; a `…_API_KEY` never
    is.
    """
    return {
        name: value
        for name, value in environment.items()
        if (name.upper() in NAMES or name.startswith(PREFIXES)) and not name.upper().endswith("_API_KEY")
    }
