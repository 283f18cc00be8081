//! The C interface to the CUDA kernels.
