//! Who holds which part of the KV cache. Bookkeeping only: the memory itself belongs to the runner.

mod block;
mod block_pool;
mod block_table;

pub use block::BlockId;
pub use block_pool::BlockPool;
pub use block_table::BlockTable;
