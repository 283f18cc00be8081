//! The blocks without a holder, in the order in which they will be handed out.

use super::block::BlockId;

/// A doubly linked list threaded through an array, so that any block can be taken out at once and
/// nothing is ever allocated.
///
/// ```text
/// links[end] ──next──► links[3] ──next──► links[0] ──next──► links[end]
///                      front              back        (previous links run backwards)
/// ```
#[derive(Debug)]
pub(super) struct FreeList {
    /// One per block, and the end of the list, which closes the ring.
    links: Vec<Link>,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
}

impl FreeList {
    /// Creates a list of all blocks in order.
    ///
    /// # Panics
    /// If there are more blocks than 32 bits can number;
    /// [`EngineConfig::validate`](crate::EngineConfig::validate) refuses that.
    pub(super) fn full(num_blocks: usize) -> Self {
        let end = u32::try_from(num_blocks).expect("`num_blocks` was validated to fit into 31 bits");
        let ring = end + 1;
        let links = (0..ring).map(|id| Link { previous: (id + end) % ring, next: (id + 1) % ring });
        Self { links: links.collect(), len: num_blocks }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = BlockId> {
        let next = |id: &u32| Some(self.links[*id as usize].next);
        std::iter::successors(next(&self.end()), next).take(self.len).map(BlockId)
    }

    /// Takes the front block: one without content, or else the least recently used.
    pub(super) fn pop_front(&mut self) -> Option<BlockId> {
        let front = self.links[self.end() as usize].next;
        if front == self.end() {
            return None;
        }
        self.remove(BlockId(front));
        Some(BlockId(front))
    }

    pub(super) fn push_front(&mut self, block: BlockId) {
        self.insert_before(block, self.links[self.end() as usize].next);
    }

    pub(super) fn push_back(&mut self, block: BlockId) {
        self.insert_before(block, self.end());
    }

    /// Takes out a block, which must be in the list.
    pub(super) fn remove(&mut self, block: BlockId) {
        let Link { previous, next } = self.links[block.0 as usize];
        self.links[previous as usize].next = next;
        self.links[next as usize].previous = previous;
        self.len -= 1;
    }

    fn insert_before(&mut self, block: BlockId, next: u32) {
        let previous = self.links[next as usize].previous;
        self.links[block.0 as usize] = Link { previous, next };
        self.links[previous as usize].next = block.0;
        self.links[next as usize].previous = block.0;
        self.len += 1;
    }

    fn end(&self) -> u32 {
        (self.links.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_go_in_at_both_ends_and_out_anywhere() {
        // A broken link hands one block out twice, or loses all behind it.
        let mut list = FreeList::full(3);
        assert_eq!(list.iter().collect::<Vec<_>>(), [0, 1, 2].map(BlockId));
        list.remove(BlockId(1));
        list.push_front(BlockId(1));
        assert_eq!(list.iter().collect::<Vec<_>>(), [1, 0, 2].map(BlockId));
        assert_eq!(list.pop_front(), Some(BlockId(1)));
        list.push_back(BlockId(1));
        let popped: Vec<_> = std::iter::from_fn(|| list.pop_front()).collect();
        assert_eq!((popped, list.len()), ([0, 2, 1].map(BlockId).to_vec(), 0));
        list.push_back(BlockId(2));
        assert_eq!(list.iter().collect::<Vec<_>>(), [BlockId(2)]);
    }
}
