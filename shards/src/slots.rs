//! Values under small integer keys, in memory that never moves.

/// Values per chunk: growing allocates one chunk and copies nothing.
const CHUNK: usize = 256;

/// A table of values by key. Keys are reused after [`Slots::remove`]; whoever keeps a key
/// longer than the value lives has to check it by other means.
///
/// Lives on one shard and is touched by that shard only.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    chunks: Vec<Box<[Option<T>]>>,
    free: Vec<u32>,
    /// Keys handed out so far: all below are in use or in `free`.
    end: u32,
    len: usize,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            end: 0,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let key = self.free.pop().unwrap_or_else(|| {
            let key = self.end;
            self.end += 1;
            if key as usize / CHUNK == self.chunks.len() {
                self.chunks.push((0..CHUNK).map(|_| None).collect());
            }
            key
        });
        self.chunks[key as usize / CHUNK][key as usize % CHUNK] = Some(value);
        self.len += 1;
        key
    }

    pub(crate) fn remove(&mut self, key: u32) -> Option<T> {
        let value = self.slot_mut(key)?.take()?;
        self.free.push(key);
        self.len -= 1;
        Some(value)
    }

    #[inline]
    pub(crate) fn get(&self, key: u32) -> Option<&T> {
        self.chunks
            .get(key as usize / CHUNK)?
            .get(key as usize % CHUNK)?
            .as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        self.slot_mut(key)?.as_mut()
    }

    /// All keys in use are below.
    pub(crate) fn end(&self) -> u32 {
        self.end
    }

    /// The keys in use.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.end).filter(|key| self.get(*key).is_some())
    }

    #[inline]
    fn slot_mut(&mut self, key: u32) -> Option<&mut Option<T>> {
        self.chunks
            .get_mut(key as usize / CHUNK)?
            .get_mut(key as usize % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_key_is_used_again_and_the_others_stay() {
        let mut slots = Slots::new();
        let keys: Vec<u32> = (0..1000).map(|value| slots.insert(value)).collect();
        assert_eq!(slots.remove(keys[500]), Some(500));
        assert_eq!(slots.remove(keys[500]), None);
        assert_eq!(slots.get(keys[500]), None);
        assert_eq!(slots.get(keys[999]), Some(&999));
        assert_eq!(slots.insert(7), keys[500]);
        assert_eq!(slots.len(), 1000);
        assert_eq!(slots.get(5000), None);
        assert_eq!(slots.keys().count(), 1000);
    }
}
