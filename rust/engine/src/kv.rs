//! The allocation of the KV cache. Bookkeeping only: the memory itself belongs to the runner.

mod block;
mod block_pool;
mod block_table;
mod free_list;
mod prefix_cache;
mod prefix_hash;

pub use block::BlockId;
pub use block_pool::BlockPool;
pub use block_table::BlockTable;
pub use prefix_cache::{Prefix, PrefixCache};
pub use prefix_hash::PrefixHash;
pub(crate) use prefix_hash::fold;
