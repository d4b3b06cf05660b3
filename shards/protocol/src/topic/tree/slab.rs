//! Values with stable numbers, in blocks that never move.

use core::mem;

/// Values in a block. Growing costs one block, never a copy of all values.
const BLOCK: usize = 512;

/// Numbers that there are, so that the highest bit of one is free.
const NUMBERS: u32 = 1 << 31;

/// Values by number. A number is taken again after its value was removed; until then
/// the vacant place holds the default value.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    blocks: Vec<Box<[T]>>,
    /// Numbers handed out so far, vacant ones included.
    used: u32,
    vacant: Vec<u32>,
}

impl<T: Default> Slab<T> {
    pub(crate) fn new() -> Self {
        Self {
            blocks: Vec::new(),
            used: 0,
            vacant: Vec::new(),
        }
    }

    /// Stores `value` and returns its number.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(number) = self.vacant.pop() {
            *self.get_mut(number) = value;
            return number;
        }
        let number = self.used;
        assert!(number < NUMBERS, "memory ends before numbers do");
        if (number as usize).is_multiple_of(BLOCK) {
            self.blocks.push((0..BLOCK).map(|_| T::default()).collect());
        }
        self.used += 1;
        *self.get_mut(number) = value;
        number
    }

    /// Takes the value out. `number` has to be one that holds a value.
    pub(crate) fn remove(&mut self, number: u32) -> T {
        let value = mem::take(self.get_mut(number));
        self.vacant.push(number);
        if self.len() == 0 {
            *self = Self::new();
        }
        value
    }

    /// The value with a number that was handed out.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> &T {
        &self.blocks[number as usize / BLOCK][number as usize % BLOCK]
    }

    /// The value with a number that was handed out.
    #[inline]
    pub(crate) fn get_mut(&mut self, number: u32) -> &mut T {
        &mut self.blocks[number as usize / BLOCK][number as usize % BLOCK]
    }

    /// The value with a number that may be anything; the default value where it was
    /// removed.
    pub(crate) fn find(&self, number: u32) -> Option<&T> {
        (number < self.used).then(|| self.get(number))
    }

    /// The number behind the largest that was handed out.
    pub(crate) fn numbers_end(&self) -> u32 {
        self.used
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.used as usize - self.vacant.len()
    }

    /// Bytes of memory it holds, without what values point to.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.len() * BLOCK * size_of::<T>()
            + self.blocks.capacity() * size_of::<Box<[T]>>()
            + self.vacant.capacity() * size_of::<u32>()
    }
}
