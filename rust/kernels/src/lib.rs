//! CPU kernels in Rust, and the C interface to the CUDA kernels that the build script compiles from
//! `cuda/`.
//!
//! Kernels take pointers, sizes and strides; the caller owns the memory and has checked the shapes.
//! A CPU kernel is written once, generic over the element type (`Element`) and the vector type of
//! the processor (`Vector`), and runs on the crate's own small pool of threads.

mod affinity;
pub mod cpu;
pub mod cuda;
mod e4m3;
mod element;
pub mod ops;
mod parts;
mod pool;
pub mod program;
mod simd;

pub use element::{Dtype, KvDtypes};
pub use pool::{num_threads, set_num_threads};
pub use simd::cpu_features;
