//! CPU kernels in Rust, and the C interface to the CUDA kernels that the build script compiles from `cuda/`.
