//! Which connections have output, and the buffers it is written to.

use super::connection::Connection;

/// Buffers kept for the next output; the rest is given back to the allocator.
const POOL_MAX: usize = 2048;

/// A buffer that grew beyond this is not kept.
const POOLED_BYTES_MAX: usize = 64 << 10;

/// Room in a fresh buffer: a few small packets.
const FRESH_BYTES: usize = 512;

/// Connections to flush at the end of the turn, and the memory of those that have no
/// output: an idle connection owns no buffer. Owned by one shard.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) dirty: Vec<u32>,
    pool: Vec<Vec<u8>>,
}

impl Outbox {
    /// Before output is written: puts the connection on the list and gives it a buffer.
    #[inline]
    pub(crate) fn mark(&mut self, connection: &mut Connection, key: u32) {
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(key);
            if connection.output.capacity() == 0 {
                connection.output = self
                    .pool
                    .pop()
                    .unwrap_or_else(|| Vec::with_capacity(FRESH_BYTES));
            }
        }
    }

    /// Takes back a buffer.
    pub(crate) fn recycle(&mut self, mut buffer: Vec<u8>) {
        let kept = self.pool.len() < POOL_MAX && buffer.capacity() <= POOLED_BYTES_MAX;
        if kept && buffer.capacity() > 0 {
            buffer.clear();
            self.pool.push(buffer);
        }
    }
}
